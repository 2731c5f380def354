"""A user's own pictures, in the Hugging Face imagefolder layout or as a plain folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from bench.data.conditions import AUTO, DEFAULT, extract
from bench.data.folder_entries import SUFFIXES, Entry, read_entries
from bench.data.folder_pictures import open_picture
from bench.errors import DataError
from bench.interfaces import Dataset
from bench.plugin import Card, Params
from bench.progress import Progress
from bench.records import Records

OWN = "own"


class FolderParams(Params):
    """Attributes:
    path: the folder.
    crops: random square crops taken from each picture, each a record of its own; 1 takes the centre.
        The crops of one picture share its identity, so they never fall into two splits.
    """

    path: str
    crops: int = Field(1, ge=1)


class Folder(Dataset):
    """Pictures of any size and mode are turned by their EXIF, cropped to a square and resized."""

    name = "folder"
    Params = FolderParams
    card = Card(
        summary="A folder of pictures: with metadata.jsonl (file_name, text, conditioning_image, identity), or plain.",
        source="Hugging Face imagefolder layout",
        needs="enough pictures for four disjoint splits; crops=K makes K records of each",
        notes=(
            "Conditions: own takes conditioning_image, own+canny extracts it where it is missing; auto is the one that "
            "fits. Grey deeper than 8 bit is stretched from its darkest to its brightest value."
        ),
    )

    def resolve(self, condition: str) -> str:
        if condition != AUTO:
            return condition
        given = {entry.conditioning_image is not None for entry in self._entries()}
        if given == {True}:
            return OWN
        return f"{OWN}+{DEFAULT}" if True in given else DEFAULT

    def load(self, limit: int, *, image_size: int, condition: str, progress: Progress) -> Records:
        entries, crops = self._entries(), self.params.crops
        entries = entries[: -(-limit // crops)]
        own, extracted = _kinds(condition)
        if own and not extracted:
            for entry in entries:
                if entry.conditioning_image is None:
                    raise DataError(f"{entry.where}: no conditioning_image; use --condition own+canny to extract one")
        ids, images, hints, prompts, identities = [], [], [], [], []
        with progress.stage("reading pictures", len(entries)) as advance:
            for number, entry in enumerate(entries):
                picture, hint = open_picture(entry.file, entry.where), None
                if own and entry.conditioning_image is not None:
                    hint = _fit(open_picture(entry.conditioning_image, entry.where), picture.size)
                for crop in range(crops):
                    box = _box(picture.size, None if crops == 1 else np.random.default_rng([number, crop]))
                    ids.append(entry.name if crops == 1 else f"{entry.name}#{crop}")
                    images.append(_square(picture, box, image_size))
                    hints.append(None if hint is None else _square(hint, box, image_size))
                    prompts.append(entry.text)
                    identities.append(entry.identity if crops == 1 else entry.identity or entry.name)
                advance(1)
        stacked = torch.stack(images[:limit])
        return Records(
            ids=tuple(ids[:limit]),
            images=stacked,
            conditions=_conditions(stacked, hints[:limit], extracted),
            prompts=tuple(prompts[:limit]),
            identities=tuple(identities[:limit]),
            attributes=tuple({} for _ in ids[:limit]),
        )

    def _entries(self) -> list[Entry]:
        root = Path(self.params.path).expanduser()
        if not root.is_dir():
            raise DataError(f"folder:{root}: no such folder")
        entries = read_entries(root)
        if not entries:
            raise DataError(f"{root}: no pictures ({', '.join(sorted(SUFFIXES))}) in this folder")
        return entries


def _kinds(condition: str) -> tuple[bool, str]:
    """Whether the folder's own hints are wanted, and the extractor for the others ("" is none)."""
    first, plus, rest = condition.partition("+")
    return (True, rest) if first == OWN and (rest or not plus) else (False, condition)


def _conditions(images: Tensor, hints: list[Tensor | None], extracted: str) -> Tensor:
    """The folder's own condition images where there are any, else extracted ones."""
    conditions = extract(extracted, images) if extracted else torch.zeros_like(images)
    for i, hint in enumerate(hints):
        if hint is not None:
            conditions[i] = hint
    return conditions


def _box(size: tuple[int, int], rng: np.random.Generator | None) -> tuple[float, float, float, float]:
    """The centre square, or a random one of at least half the shorter side."""
    width, height = size
    side = float(min(width, height))
    if rng is None:
        left, top = (width - side) / 2, (height - side) / 2
    else:
        side *= rng.uniform(0.5, 1.0)
        left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
    return left, top, left + side, top + side


def _fit(hint: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A hint of another size is stretched over its picture."""
    return hint if hint.size == size else hint.resize(size, Image.Resampling.LANCZOS)


def _square(picture: Image.Image, box: tuple[float, float, float, float], size: int) -> Tensor:
    """``(3, size, size)`` uint8."""
    resized = picture.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return torch.from_numpy(np.asarray(resized, dtype=np.uint8).copy()).permute(2, 0, 1)
