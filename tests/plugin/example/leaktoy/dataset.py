"""A data set: striped pictures."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from bench.data.conditions import extract
from bench.interfaces import Card, Dataset, Params, Progress, Records, generator


class ToyStripesParams(Params):
    """Attributes:
    seed: another seed gives other stripes.
    """

    seed: int = Field(default=0, ge=0)


class ToyStripes(Dataset):
    """Every record has an angle, a width and two colours of its own."""

    name = "toy-stripes"
    Params = ToyStripesParams
    card = Card(
        summary="Striped pictures, each an identity of its own.",
        source="this project, tests/plugin/example",
    )

    def load(self, limit: int, *, image_size: int, condition: str, progress: Progress) -> Records:
        with progress.stage("stripes", limit) as advance:
            drawn = []
            for i in range(limit):
                drawn.append(_stripes(generator(self.params.seed, "stripes", str(i)), image_size))
                advance(1)
        images = torch.stack([picture for picture, _ in drawn])
        return Records(
            ids=tuple(f"stripes/{self.params.seed}/{i}" for i in range(limit)),
            images=images,
            conditions=extract(condition, images),
            prompts=tuple(f"stripes at {degrees} degrees" for _, degrees in drawn),
            identities=tuple(f"pattern {i}" for i in range(limit)),
            attributes=tuple({"angle": str(degrees)} for _, degrees in drawn),
        )


def _stripes(rng: torch.Generator, size: int) -> tuple[Tensor, int]:
    """A picture ``(3, size, size)`` uint8, and the angle of its stripes in degrees."""
    degrees = 15 * int(torch.randint(0, 12, (), generator=rng))
    stripes = int(torch.randint(2, 5, (), generator=rng))
    colours = torch.randint(0, 256, (2, 3, 1, 1), generator=rng)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    along = x * math.cos(math.radians(degrees)) + y * math.sin(math.radians(degrees))
    picture = torch.where(
        torch.sin(2 * math.pi * stripes * along / size) > 0, colours[0], colours[1]
    )
    return picture.to(torch.uint8), degrees
