"""Records as a small classifier uses them: pooled pictures, classes, and a codec."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from bench.interfaces import Codec, ImageBatch, Records, RequestError, Victim

IDENTITY = "identity"


def check_image_size(victim: Victim, image_size: int, size: int) -> None:
    """Refuse pictures that cannot be pooled to ``size``.

    Raises:
        RequestError: the image size is no multiple of ``size``.
    """
    if image_size % size:
        raise RequestError(
            f"victim {victim.name!r}: image size {image_size} is no multiple of size={size}"
        )


def pool(images: Tensor, size: int) -> Tensor:
    """Return pictures ``(N, 3, H, W)`` uint8 as rounded means over squares.

    The result is ``(N, 3, size, size)`` float32 in [0, 1].
    """
    factor = images.shape[-1] // size
    return functional.avg_pool2d(images.float(), factor).round() / 255


def enlarge(pixels: Tensor, image_size: int) -> Tensor:
    """Return pictures ``(N, 3, size, size)`` with every pixel enlarged to a square.

    The result is ``(N, 3, image_size, image_size)``.
    """
    return functional.interpolate(pixels, size=(image_size, image_size), mode="nearest")


def with_pooled_pictures(records: Records, size: int) -> Records:
    """Return the records with the pooled pictures that the client trains on, at the old size."""
    small = pool(records.images, size)
    return replace(records, images=ImageBatch(enlarge(small, records.images.shape[-1])).uint8())


def labels(records: Records, label: str, classes: int) -> Tensor:
    """Return the class of each record, ``(N,)`` int64.

    The class is a public hash of the attribute or identity, modulo ``classes``, so several values
    may share a class.

    Raises:
        RequestError: a record lacks the attribute or identity.
    """
    indices = []
    for name, identity, attributes in zip(
        records.ids, records.identities, records.attributes, strict=True
    ):
        value = identity if label == IDENTITY else attributes.get(label)
        if value is None:
            known = sorted(attributes) + ([IDENTITY] if identity is not None else [])
            raise RequestError(
                f"record {name!r} has no attribute {label!r} for its label; it has "
                f"{', '.join(known) or 'none'}"
            )
        indices.append(int.from_bytes(hashlib.sha256(value.encode()).digest()[:8], "big") % classes)
    return torch.tensor(indices, dtype=torch.long)


def accuracy(guess: Tensor, truth: Tensor) -> dict[str, float]:
    """Return the accuracy of guessed classes and that of guessing the commonest class.

    Args:
        guess: the guessed class of each record, ``(N,)`` int64.
        truth: the class of each record, ``(N,)`` int64.
    """
    return {
        "accuracy": float((guess == truth).float().mean()),
        "accuracy_blind": float(truth.bincount().max() / len(truth)),
    }


class PooledCodec(Codec):
    """Encodes pictures as latents ``(N, 4, size, size)``.

    Latents are the pooled picture in [-1, 1] and its grey.
    """

    def __init__(self, size: int, image_size: int) -> None:
        self._size, self._image_size = size, image_size

    def encode(self, images: ImageBatch) -> Tensor:
        small = functional.avg_pool2d(images.signed(), images.size[0] // self._size)
        return torch.cat([small, small.mean(1, keepdim=True)], 1)

    def decode(self, latents: Tensor) -> ImageBatch:
        # Half-precision latents are finer than the 255 steps of a picture, so rounding restores
        # the picture exactly.
        small = ((latents[:, :3].float() + 1) * 127.5).round() / 255
        return ImageBatch.clamped(enlarge(small, self._image_size))
