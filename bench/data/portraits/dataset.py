"""The data set ``portraits``: procedural portraits of made-up people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from bench.data.conditions import extract
from bench.data.portraits.people import person, shot
from bench.data.portraits.render import draw_maps, render
from bench.interfaces.dataset import Dataset
from bench.interfaces.plugin import Card, Params
from bench.types.gallery import Gallery
from bench.types.images import ImageBatch
from bench.types.records import Records
from bench.util.errors import RequestError
from bench.util.progress import Progress

SMALLEST = 64
OUTSIDERS = 4_000_000
"""Number of the first person who is in no record and in no training set of the shipped models."""
MAPS = ("segmentation", "depth")
"""Hints that the drawing code itself gives."""


class PortraitParams(Params):
    """Parameters of :class:`Portraits`.

    Attributes:
        seed: another seed gives other people.
        photos_per_identity: consecutive photographs of one person.
        start: number of the first identity.
    """

    seed: int = Field(0, ge=0)
    photos_per_identity: int = Field(4, ge=1)
    start: int = Field(0, ge=0)


class Portraits(Dataset):
    """Procedural portraits; record i shows identity ``start + i // photos_per_identity``."""

    name: ClassVar[str] = "portraits"
    card: ClassVar[Card] = Card(
        summary=(
            "Procedural anti-aliased portraits of made-up people, photographed several times each."
        ),
        source="this project",
        cost="about 5 ms a 64x64 picture on one core",
        notes=(
            "Drawn, not photographed: figures on it do not carry over to photographs. The pocket "
            "model was pre-trained on identities from 1,000,000 up, so keep below that for private "
            "records. Ships exact hints: segmentation and depth."
        ),
    )
    Params = PortraitParams

    def load(self, limit: int, *, image_size: int, condition: str, progress: Progress) -> Records:
        """Return the first ``limit`` records; see :meth:`Dataset.load`.

        Raises:
            RequestError: ``image_size`` is below 64, or the condition is unknown.
        """
        if image_size < SMALLEST:
            raise RequestError(
                f"portraits: image size {image_size} is too small; the smallest is {SMALLEST}"
            )
        p: PortraitParams = self.params
        pixels = np.empty((limit, image_size, image_size, 3), np.uint8)
        hints = np.empty_like(pixels) if condition in MAPS else None
        prompts, identities, attributes = [], [], []
        with progress.stage("portraits", limit) as advance:
            for i in range(limit):
                identity, photo = p.start + i // p.photos_per_identity, i % p.photos_per_identity
                pixels[i], text, labels = render(identity, photo, image_size, p.seed)
                if hints is not None:
                    hints[i] = _map(condition, identity, photo, image_size, p.seed)
                prompts.append(text)
                identities.append(f"p{identity:05d}")
                attributes.append(labels)
                advance(1)
        images = _tensor(pixels)
        first = p.start * p.photos_per_identity
        ids = tuple(f"portraits/{first + i:06d}" for i in range(limit))
        return Records(
            ids=ids,
            images=images,
            conditions=extract(condition, images, seed=p.seed, first=first)
            if hints is None
            else _tensor(hints),
            prompts=tuple(prompts),
            identities=tuple(identities),
            attributes=tuple(attributes),
            origins=ids,
        )

    def gallery(self, identities: Sequence[str], outsiders: int, *, image_size: int) -> Gallery:
        """Return for each person the photograph that follows those of the records."""
        p: PortraitParams = self.params
        numbers = [int(name.removeprefix("p")) for name in identities] + [
            OUTSIDERS + i for i in range(outsiders)
        ]
        pixels = [
            render(number, p.photos_per_identity, image_size, p.seed)[0] for number in numbers
        ]
        names = tuple(f"p{number:05d}" for number in numbers)
        return Gallery(names, ImageBatch.from_uint8(_tensor(np.stack(pixels))))


def _map(condition: str, identity: int, photo: int, size: int, seed: int) -> NDArray[np.uint8]:
    """Return one of :data:`MAPS` of a picture, ``(size, size, 3)`` uint8."""
    maps = draw_maps(person(identity, seed), shot(identity, photo, seed), size)
    return (
        maps.segmentation()
        if condition == "segmentation"
        else np.repeat(maps.shades()[..., None], 3, axis=2)
    )


def _tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Return ``(N, H, W, 3)`` as ``(N, 3, H, W)``."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
