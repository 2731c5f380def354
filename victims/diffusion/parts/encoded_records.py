"""Private records as latents and prompt states, which frozen encoders compute once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.interfaces import ImageBatch, Records
from victims.stable_diffusion.model import StableDiffusion
from victims.stable_diffusion.prompt_code import PromptCode


@dataclass(frozen=True, eq=False)
class Batch:
    """Holds one private batch of the client, which never crosses the wire.

    Attributes:
        image_latents: z0, ``(B, 4, h, w)``.
        condition_latents: z_c, ``(B, 4, h, w)``.
        condition: pixels in [0, 1], ``(B, 3, H, W)``.
        text: prompt states, ``(B, L, D)``.
        pooled_text: pooled prompts of Stable Diffusion XL, ``(B, P)``; None in other models.
        record_ids: the client's ids of the records.
    """

    image_latents: Tensor
    condition_latents: Tensor
    condition: Tensor
    text: Tensor
    record_ids: tuple[str, ...]
    pooled_text: Tensor | None = None

    def only(self, i: int) -> Batch:
        """Return record ``i`` as a batch of one."""
        row = slice(i, i + 1)
        return Batch(
            self.image_latents[row],
            self.condition_latents[row],
            self.condition[row],
            self.text[row],
            self.record_ids[row],
            None if self.pooled_text is None else self.pooled_text[row],
        )

    def prompt_arguments(self) -> dict[str, Any]:
        """Return the prompt arguments of UNet and ControlNet, as ``PromptCode.arguments``."""
        height, width = self.condition.shape[-2:]
        return PromptCode(self.text, self.pooled_text).arguments(height, width)


class EncodedRecords:
    """Returns batches of records; encodes each record on first use and keeps it on the CPU.

    A record takes four latents and its prompt's states: half a megabyte at 512x512 in Stable
    Diffusion 1.5.
    """

    def __init__(self, model: StableDiffusion, records: Records) -> None:
        self.records = records
        self._model = model
        # Tensors without data cannot be moved off the device meta.
        self._kept = "meta" if model.device == "meta" else "cpu"
        self._moments: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
        self._codes: dict[int, PromptCode] = {}

    def batch(self, index: Sequence[int], rng: torch.Generator) -> Batch:
        """Return the records at ``index``.

        z0 and z_c are drawn from the autoencoder's posterior, as in the published code.
        """
        rows = list(index)
        self._encode(sorted({row for row in rows if row not in self._moments}))
        moments = [
            torch.stack(part).to(self._model.device)
            for part in zip(*(self._moments[row] for row in rows), strict=True)
        ]
        code = PromptCode.cat([self._codes[row] for row in rows]).to(self._model.device)
        image_latents, condition_latents = (
            mean + std * torch.randn(mean.shape, generator=rng).to(mean.device)
            for mean, std in (moments[:2], moments[2:])
        )
        return Batch(
            image_latents=image_latents,
            condition_latents=condition_latents,
            condition=ImageBatch.from_uint8(self.records.conditions[rows]).pixels.to(
                self._model.device
            ),
            text=code.states,
            record_ids=tuple(self.records.ids[i] for i in rows),
            pooled_text=code.pooled,
        )

    def _encode(self, rows: list[int]) -> None:
        if not rows:
            return
        images, conditions = (
            self._model.moments(ImageBatch.from_uint8(pixels[rows]))
            for pixels in (self.records.images, self.records.conditions)
        )
        code = self._model.prompt_code([self.records.prompts[i] for i in rows])
        for place, row in enumerate(rows):
            mean, std, condition_mean, condition_std = (
                part[place].to(self._kept) for part in (*images, *conditions)
            )
            self._moments[row] = (mean, std, condition_mean, condition_std)
            self._codes[row] = code.only(place).to(self._kept)
