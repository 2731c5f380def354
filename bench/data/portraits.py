"""The ``portraits`` data set: procedural portraits of made-up people."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from bench.data.conditions import extract
from bench.data.portrait_render import render
from bench.errors import RequestError
from bench.interfaces import Dataset
from bench.plugin import Card, Params
from bench.progress import Progress
from bench.records import Records

SMALLEST = 64


class PortraitParams(Params):
    """Parameters of :class:`Portraits`.

    Attributes:
        seed: another seed gives other people.
        photos_per_identity: photographs of one person that follow one another.
        start: number of the first identity.
    """

    seed: int = Field(0, ge=0)
    photos_per_identity: int = Field(4, ge=1)
    start: int = Field(0, ge=0)


class Portraits(Dataset):
    """Record i shows identity ``start + i // photos_per_identity``."""

    name: ClassVar[str] = "portraits"
    card: ClassVar[Card] = Card(
        summary="Procedural anti-aliased portraits of made-up people, photographed several times each.",
        source="this project",
        cost="about 5 ms a 64x64 picture on one core",
        notes=(
            "Drawn, not photographed: figures on it do not carry over to photographs. The pocket model was "
            "pre-trained on identities from 1,000,000 up, so keep below that for private records."
        ),
    )
    Params = PortraitParams

    def load(self, limit: int, *, image_size: int, condition: str, progress: Progress) -> Records:
        """The first ``limit`` records; see :meth:`Dataset.load`.

        Raises:
            RequestError: ``image_size`` is below 64, or the condition is unknown.
        """
        if image_size < SMALLEST:
            raise RequestError(f"portraits: image size {image_size} is too small; the smallest is {SMALLEST}")
        p: PortraitParams = self.params
        pixels = np.empty((limit, image_size, image_size, 3), np.uint8)
        prompts, identities, attributes = [], [], []
        with progress.stage("portraits", limit) as advance:
            for i in range(limit):
                identity, photo = p.start + i // p.photos_per_identity, i % p.photos_per_identity
                pixels[i], text, labels = render(identity, photo, image_size, p.seed)
                prompts.append(text)
                identities.append(f"p{identity:05d}")
                attributes.append(labels)
                advance(1)
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        first = p.start * p.photos_per_identity
        return Records(
            ids=tuple(f"portraits/{first + i:06d}" for i in range(limit)),
            images=images,
            conditions=extract(condition, images),
            prompts=tuple(prompts),
            identities=tuple(identities),
            attributes=tuple(attributes),
        )
