"""What a small classifier makes of records: pooled pictures, labels folded into classes, a codec between the sizes."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from bench.interfaces import Codec, ImageBatch, Records, RequestError

IDENTITY = "identity"


def pooled(images: Tensor, size: int) -> Tensor:
    """Pictures ``(N, 3, H, W)`` uint8 as means over squares, rounded: ``(N, 3, size, size)`` float32 in [0, 1]."""
    factor = images.shape[-1] // size
    return functional.avg_pool2d(images.float(), factor).round() / 255


def enlarged(pixels: Tensor, image_size: int) -> Tensor:
    """``(N, 3, size, size)`` with every pixel as a square: ``(N, 3, image_size, image_size)``."""
    return functional.interpolate(pixels, size=(image_size, image_size), mode="nearest")


def as_trained(records: Records, size: int) -> Records:
    """The records with the pictures that the client really trains on, at their old size."""
    small = pooled(records.images, size)
    return replace(records, images=ImageBatch(enlarged(small, records.images.shape[-1])).uint8())


def labels(records: Records, label: str, classes: int) -> Tensor:
    """One class a record, ``(N,)`` int64: a hash of the attribute or identity, modulo ``classes``.

    Anybody can compute it; values may share a class.

    Raises:
        RequestError: a record lacks the attribute or identity.
    """
    found = []
    for name, identity, attributes in zip(
        records.ids, records.identities, records.attributes, strict=True
    ):
        value = identity if label == IDENTITY else attributes.get(label)
        if value is None:
            known = sorted(attributes) + ([IDENTITY] if identity is not None else [])
            raise RequestError(
                f"record {name!r} has no {label!r} to be its label; it has {', '.join(known) or 'none'}"
            )
        found.append(int.from_bytes(hashlib.sha256(value.encode()).digest()[:8], "big") % classes)
    return torch.tensor(found, dtype=torch.long)


class PooledCodec(Codec):
    """Latents are the pooled picture in [-1, 1], and its grey, ``(N, 4, size, size)``."""

    def __init__(self, size: int, image_size: int) -> None:
        self._size, self._image_size = size, image_size

    def encode(self, images: ImageBatch) -> Tensor:
        small = functional.avg_pool2d(images.signed(), images.size[0] // self._size)
        return torch.cat([small, small.mean(1, keepdim=True)], 1)

    def decode(self, latents: Tensor) -> ImageBatch:
        # Half-precision latents are finer than the 255 steps of a picture, so rounding gives them
        # back exactly.
        small = ((latents[:, :3].float() + 1) * 127.5).round() / 255
        return ImageBatch.clamped(enlarged(small, self._image_size))
