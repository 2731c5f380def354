"""The ground truth behind a transcript, sealed in files separate from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.types.estimate import Estimate
from bench.types.records import Records
from bench.util.errors import DataError
from bench.util.files import read_json
from bench.wire.transcript import Release


class SecretsWriter:
    """Collects the truth behind each release while a victim trains."""

    def __init__(self) -> None:
        self._releases: list[Release] = []
        self._record: list[int] = []
        self._image_latents: list[Tensor] = []
        self._condition_latents: list[Tensor] = []

    def add(
        self,
        releases: list[Release],
        record_index: list[int],
        image_latents: Tensor,
        condition_latents: Tensor,
    ) -> None:
        """Add the truth behind the rows of one step.

        Args:
            releases: the releases of the step, B of them.
            record_index: the position of each release's record among the private records.
            image_latents: z0, ``(B, 4, h, w)``; stored in half precision.
            condition_latents: z_c, ``(B, 4, h, w)``; stored in half precision.
        """
        self._releases += releases
        self._record += record_index
        self._image_latents.append(image_latents.detach().cpu().half())
        self._condition_latents.append(condition_latents.detach().cpu().half())

    def close(self, path: Path, records: Records) -> Secrets:
        """Write the truth under ``path`` and return it opened."""
        path.mkdir(parents=True)
        tensors = {
            "images": records.images.contiguous(),
            "conditions": records.conditions.contiguous(),
        }
        if self._releases:
            tensors |= {
                "releases": torch.tensor([[r.epoch, r.step, r.row] for r in self._releases]),
                "record": torch.tensor(self._record),
                "image_latents": torch.cat(self._image_latents),
                "condition_latents": torch.cat(self._condition_latents),
            }
        save_file(tensors, path / "secrets.safetensors")
        words = SecretWords(
            ids=records.ids,
            prompts=records.prompts,
            identities=records.identities,
            attributes=tuple(dict(a) for a in records.attributes),
        )
        (path / "secrets.json").write_text(words.model_dump_json())
        return Secrets.open(path)


class SecretWords(BaseModel):
    """The part of the secrets that is text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: tuple[str, ...]
    prompts: tuple[str, ...]
    identities: tuple[str | None, ...]
    attributes: tuple[dict[str, str], ...]


@dataclass(frozen=True, eq=False)
class Secrets:
    """The ground truth behind a transcript.

    Attributes:
        records: the private records.
        position: the row of each release in ``record_index`` and the latents.
        record_index: the record behind each row, ``(R,)`` int64.
        image_latents: z0 of each row, ``(R, 4, h, w)``.
        condition_latents: z_c of each row, ``(R, 4, h, w)``.
    """

    records: Records
    position: dict[Release, int]
    record_index: Tensor
    image_latents: Tensor
    condition_latents: Tensor

    @classmethod
    def open(cls, path: Path) -> Secrets:
        """Open sealed secrets.

        Raises:
            DataError: a file is missing or malformed.
        """
        try:
            tensors = load_file(path / "secrets.safetensors")
            words = SecretWords.model_validate(read_json(path / "secrets.json"))
        except (FileNotFoundError, SafetensorError, ValidationError) as error:
            raise DataError(f"{path}: the secrets are missing or damaged") from error
        records = Records(
            ids=words.ids,
            images=tensors["images"],
            conditions=tensors["conditions"],
            prompts=words.prompts,
            identities=words.identities,
            attributes=words.attributes,
        )
        rows = tensors.get("releases", torch.empty(0, 3)).tolist()
        return cls(
            records=records,
            position={Release(int(e), int(s), int(r)): i for i, (e, s, r) in enumerate(rows)},
            record_index=tensors.get("record", torch.empty(0, dtype=torch.long)),
            image_latents=tensors.get("image_latents", torch.empty(0)),
            condition_latents=tensors.get("condition_latents", torch.empty(0)),
        )

    def records_behind(self, releases: Sequence[Release]) -> list[int]:
        """Return the number of the record behind each release."""
        return [int(self.record_index[self.position[release]]) for release in releases]

    def truth(self, releases: list[Release]) -> tuple[Records, dict[str, Estimate]]:
        """Return the records behind ``releases`` and, by target, their pictures with latents."""
        positions = torch.tensor([self.position[r] for r in releases], dtype=torch.long)
        index = self.record_index[positions].tolist()
        records = Records(
            ids=tuple(f"{i}:{self.records.ids[j]}" for i, j in enumerate(index)),
            images=self.records.images[index],
            conditions=self.records.conditions[index],
            prompts=tuple(self.records.prompts[j] for j in index),
            identities=tuple(self.records.identities[j] for j in index),
            attributes=tuple(self.records.attributes[j] for j in index),
        )
        return records, {
            "image": Estimate(records.image_batch(), self.image_latents[positions].float()),
            "condition": Estimate(
                records.condition_batch(), self.condition_latents[positions].float()
            ),
        }
