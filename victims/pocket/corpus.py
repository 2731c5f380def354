"""The training pictures of the pocket model: portraits, photographs, filled circles, outlines.

The photographs are crops of those that scikit-image and scikit-learn install.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.data.photos.photographs import POCKET_TRAINING, PROMPTS, photograph

FIRST_IDENTITY = 1_000_000
"""First identity of the training portraits, and number of the first training circle."""
HELD_OUT_IDENTITY = 2_000_000
HELD_OUT_PHOTOS = ("cat", "temple")
PHASE_CHUNK = 250


@dataclass(frozen=True)
class Corpus:
    """Holds the training pictures with their prompts.

    Attributes:
        portraits: ``(N, 3, S, S)`` uint8, with one prompt each.
        photos: ``(M, 3, S, S)`` uint8 crops, with one prompt each.
        circles: ``(L, 3, S, S)`` uint8 pictures of the ``fill`` task, with one prompt each.
        outlines: ``(K, 3, S, S)`` uint8 hint images.
    """

    portraits: Tensor
    prompts: tuple[str, ...]
    photos: Tensor
    photo_prompts: tuple[str, ...]
    circles: Tensor
    circle_prompts: tuple[str, ...]
    outlines: Tensor

    def words(self) -> tuple[str, ...]:
        """Return all prompts."""
        return self.prompts + self.photo_prompts + self.circle_prompts


def _portraits(task: tuple[int, int, int]) -> tuple[NDArray[np.uint8], list[str]]:
    from bench.data.portraits.render import render

    first, count, size = task
    drawn = [render(first + i, 0, size, 0) for i in range(count)]
    return np.stack([d[0] for d in drawn]), [d[1] for d in drawn]


def portraits(first: int, count: int, size: int, workers: int) -> tuple[Tensor, tuple[str, ...]]:
    """Return one portrait of each of ``count`` identities from ``first`` up, and their prompts.

    The portraits are ``(N, 3, S, S)`` uint8.
    """
    tasks = [(first + i, min(PHASE_CHUNK, count - i), size) for i in range(0, count, PHASE_CHUNK)]
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(_portraits, tasks))
    else:
        parts = [_portraits(t) for t in tasks]
    pixels = (
        torch.from_numpy(np.concatenate([p[0] for p in parts])).permute(0, 3, 1, 2).contiguous()
    )
    return pixels, tuple(text for p in parts for text in p[1])


def crops(
    names: tuple[str, ...], count: int, size: int, seed: int
) -> tuple[Tensor, tuple[str, ...]]:
    """Return random square crops at random scale, and the name of each crop's photograph.

    The crops are ``(count, 3, S, S)`` uint8.
    """
    from PIL import Image

    rng = np.random.default_rng([seed, count, size])
    sources = [Image.fromarray(photograph(n)) for n in names]
    pixels = np.empty((count, size, size, 3), np.uint8)
    chosen = []
    for i in range(count):
        k = i % len(sources)
        picture = sources[k]
        short = min(picture.size)
        side = int(np.exp(rng.uniform(np.log(min(1.5 * size, short)), np.log(short))))
        x, y = (int(rng.integers(0, extent - side + 1)) for extent in picture.size)
        crop = picture.resize((size, size), Image.Resampling.BOX, box=(x, y, x + side, y + side))
        pixels[i] = np.asarray(crop)[:, :: -1 if rng.uniform() < 0.5 else 1]
        chosen.append(names[k])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), tuple(chosen)


def circles(first: int, count: int, size: int) -> tuple[Tensor, tuple[str, ...]]:
    """Return pictures of the ``fill`` task, ``(count, 3, size, size)`` uint8, and their prompts."""
    from bench.data.fill import draw

    drawn = [draw(first + i, size, 0) for i in range(count)]
    pixels = torch.from_numpy(np.stack([d.image for d in drawn])).permute(0, 3, 1, 2).contiguous()
    return pixels, tuple(d.prompt for d in drawn)


def build(out: Path, *, count: int, size: int, seed: int, workers: int) -> Corpus:
    """Return the training corpus, which is kept under ``out`` for restarts of the recipe."""
    from bench.data.conditions import extract

    out.mkdir(parents=True, exist_ok=True)
    pictures, words = out / "corpus.safetensors", out / "corpus.json"
    if pictures.exists() and words.exists():
        tensors = load_file(pictures)
        texts = json.loads(words.read_text(encoding="utf-8"))
    else:
        drawn, prompts = portraits(FIRST_IDENTITY, count, size, workers)
        photos, names = crops(POCKET_TRAINING, max(8, count // 4), size, seed)
        filled, colours = circles(FIRST_IDENTITY, max(8, count // 4), size)
        outlines = extract("canny", drawn[: max(8, count // 8)])
        tensors = {"portraits": drawn, "photos": photos, "circles": filled, "outlines": outlines}
        texts = {
            "prompts": prompts,
            "photo_prompts": [PROMPTS[n] for n in names],
            "circle_prompts": colours,
        }
        save_file(tensors, pictures)
        words.write_text(json.dumps(texts), encoding="utf-8")
    return Corpus(
        portraits=tensors["portraits"],
        prompts=tuple(texts["prompts"]),
        photos=tensors["photos"],
        photo_prompts=tuple(texts["photo_prompts"]),
        circles=tensors["circles"],
        circle_prompts=tuple(texts["circle_prompts"]),
        outlines=tensors["outlines"],
    )
