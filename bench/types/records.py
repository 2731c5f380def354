"""Private training examples, held as one batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.types.images import ImageBatch
from bench.util.errors import DataError


@dataclass(frozen=True, eq=False)
class Records:
    """A batch of records of one image size.

    Attributes:
        ids: unique name of each record within its data set.
        images: ``(N, 3, H, W)`` uint8.
        conditions: hint images, ``(N, 3, H, W)`` uint8.
        prompts: one caption per record.
        identities: the person or thing that each record shows, or None where the data set does not
            give it. Records of one identity never fall into two splits.
        attributes: labels of each record by name, such as ``{"hair": "red"}``; empty where there
            are none.
        origins: what each record is made from, such as the hash of its file. Together with code and
            parameters of the data set it determines the record, so that hashes do not depend on how
            a processor rounds a pixel. Empty where the data set does not give origins; then pixels
            are hashed.
        groups: records of one group never fall into two splits; None groups by identity alone.
        duplicate: whether another record shows an equal or nearly equal picture; empty where this
            was not examined.

    Raises:
        DataError: the fields differ in length, ids are not unique, or a tensor has another shape or
            dtype.
    """

    ids: tuple[str, ...]
    images: Tensor
    conditions: Tensor
    prompts: tuple[str, ...]
    identities: tuple[str | None, ...]
    attributes: tuple[Mapping[str, str], ...]
    origins: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    duplicate: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.ids)
        lengths = {
            "images": len(self.images),
            "conditions": len(self.conditions),
            "prompts": len(self.prompts),
            "identities": len(self.identities),
            "attributes": len(self.attributes),
            "groups": n if self.groups is None else len(self.groups),
            "duplicate": len(self.duplicate) or n,
            "origins": len(self.origins) or n,
        }
        for field, length in lengths.items():
            if length != n:
                raise DataError(f"records: {n} ids but {length} {field}")
        if len(set(self.ids)) != n:
            raise DataError("records: ids are not unique")
        for field in ("images", "conditions"):
            tensor: Tensor = getattr(self, field)
            if tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[1] != 3:
                raise DataError(
                    f"records: {field} must be (N, 3, H, W) uint8, "
                    f"got {tuple(tensor.shape)} {tensor.dtype}"
                )

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, index: Sequence[int]) -> Records:
        """Return the records at ``index``, in that order.

        A record may be taken several times; ``#2``, ``#3`` and so on follow the id of its further
        copies.
        """
        rows = torch.as_tensor(list(index), dtype=torch.long)
        return replace(
            self,
            ids=_numbered([self.ids[i] for i in index]),
            images=self.images[rows],
            conditions=self.conditions[rows],
            prompts=tuple(self.prompts[i] for i in index),
            identities=tuple(self.identities[i] for i in index),
            attributes=tuple(self.attributes[i] for i in index),
            groups=None if self.groups is None else tuple(self.groups[i] for i in index),
            duplicate=tuple(self.duplicate[i] for i in index) if self.duplicate else (),
            origins=tuple(self.origins[i] for i in index) if self.origins else (),
        )

    def group_names(self) -> tuple[str, ...]:
        """Return one name per record of the group that splits may not divide.

        This is the record's group, else its identity, else the record itself.
        """
        if self.groups is not None:
            return self.groups
        return tuple(
            f"record {i}" if identity is None else f"identity {identity}"
            for i, identity in enumerate(self.identities)
        )

    def copy(self) -> Records:
        """Return records with separate memory, so that changes to one do not affect the other."""
        return replace(
            self,
            images=self.images.clone(),
            conditions=self.conditions.clone(),
            attributes=tuple(dict(labels) for labels in self.attributes),
        )

    def image_batch(self) -> ImageBatch:
        """Return the private images, ``(N, 3, H, W)`` in [0, 1]."""
        return ImageBatch.from_uint8(self.images)

    def condition_batch(self) -> ImageBatch:
        """Return the hint images, ``(N, 3, H, W)`` in [0, 1]."""
        return ImageBatch.from_uint8(self.conditions)

    def content_hash(self) -> str:
        """Return a sha256 over texts and origins; without origins, over texts and pixels."""
        return self._hash(pixels=not self.origins)

    def pixel_hash(self) -> str:
        """Return a sha256 over texts and pixels."""
        return self._hash(pixels=True)

    def _hash(self, *, pixels: bool) -> str:
        digest = hashlib.sha256()
        words = [
            self.ids,
            self.prompts,
            self.identities,
            [dict(sorted(a.items())) for a in self.attributes],
        ]
        content = words if pixels else [*words, self.origins]
        digest.update(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
        for tensor in (self.images, self.conditions) if pixels else ():
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def _numbered(ids: Sequence[str]) -> tuple[str, ...]:
    """Return ids with ``#2``, ``#3`` and so on behind repeated ones."""
    taken: set[str] = set()
    found = []
    for name in ids:
        unique, copy = name, 1
        while unique in taken:
            copy += 1
            unique = f"{name}#{copy}"
        taken.add(unique)
        found.append(unique)
    return tuple(found)
