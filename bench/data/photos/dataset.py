"""The data set ``photos``: random crops of photographs that other packages install."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from bench.data.conditions import extract
from bench.data.exact_math import exp, log
from bench.data.photos.photographs import GREY_PROMPTS, POCKET_TRAINING, PROMPTS, photograph
from bench.interfaces.dataset import Dataset
from bench.interfaces.plugin import Card, Params
from bench.types.records import Records
from bench.util.errors import RequestError
from bench.util.progress import Progress

SMALLEST = 16
LEAST_ZOOM = 1.5
"""The smallest crop has this many pixels per pixel of the record, so that the record is sharp."""


class PhotosParams(Params):
    """Parameters of :class:`Photos`.

    Attributes:
        seed: another seed gives other crops.
        start: number of the first crop.
        held_out: use only photographs outside the training set of the pocket model: three in
            colour, six in grey.
    """

    seed: int = Field(0, ge=0)
    start: int = Field(0, ge=0)
    held_out: bool = False


class Photos(Dataset):
    """Crops of photographs; record i is a crop of photograph ``(start + i) % n``, its identity."""

    name: ClassVar[str] = "photos"
    card: ClassVar[Card] = Card(
        summary=(
            "Random crops of the eleven colour photographs that scikit-image, scikit-learn and "
            "matplotlib ship."
        ),
        source="this project; photographs of scikit-image, scikit-learn and matplotlib",
        cost="about 1 ms a 64x64 crop on one core",
        notes=(
            "Real, but few: crops of one photograph resemble each other, so a private crop's "
            "neighbours are private too, and auxiliary records never show the same scene. The "
            "pocket model was pre-trained on crops of eight of them; held_out=true takes three "
            "others and six in grey."
        ),
    )
    Params = PhotosParams

    def load(self, limit: int, *, image_size: int, condition: str, progress: Progress) -> Records:
        """Return the first ``limit`` records; see :meth:`Dataset.load`.

        Raises:
            RequestError: ``image_size`` is below 16, or the condition is unknown.
        """
        if image_size < SMALLEST:
            raise RequestError(
                f"photos: image size {image_size} is too small; the smallest is {SMALLEST}"
            )
        p: PhotosParams = self.params
        prompts = photographs_with_prompts(p.held_out)
        names = tuple(prompts)
        chosen = tuple(names[(p.start + i) % len(names)] for i in range(limit))
        pixels = np.empty((limit, image_size, image_size, 3), np.uint8)
        with progress.stage("crops", limit) as advance:
            for i, name in enumerate(chosen):
                pixels[i] = crop(name, p.start + i, image_size, p.seed)
                advance(1)
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        ids = tuple(f"photos/{name}/{p.start + i:06d}" for i, name in enumerate(chosen))
        return Records(
            ids=ids,
            images=images,
            conditions=extract(condition, images, seed=p.seed, first=p.start),
            prompts=tuple(prompts[name] for name in chosen),
            identities=chosen,
            attributes=tuple({"photograph": name} for name in chosen),
            origins=ids,
        )


def photographs_with_prompts(held_out: bool) -> dict[str, str]:
    """Return the names of the photographs, each with its prompt."""
    if not held_out:
        return PROMPTS
    return {
        name: text for name, text in (PROMPTS | GREY_PROMPTS).items() if name not in POCKET_TRAINING
    }


def crop(name: str, index: int, size: int, seed: int) -> NDArray[np.uint8]:
    """Return crop ``index`` of a photograph, ``(size, size, 3)`` uint8.

    Place, scale and mirroring are random.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0xF0705, index])))
    picture = _source(name)
    short = min(picture.size)
    side = int(exp(rng.uniform(log(min(LEAST_ZOOM * size, short)), log(short))))
    left, top = (int(rng.integers(0, extent - side + 1)) for extent in picture.size)
    box = (left, top, left + side, top + side)
    # A photograph smaller than the record is enlarged.
    cut = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS, box=box))
    return cut[:, :: -1 if rng.uniform() < 0.5 else 1]


@lru_cache(maxsize=32)
def _source(name: str) -> Image.Image:
    return Image.fromarray(photograph(name))
