"""The data set ``folder``: a user's pictures with captions and hints, or pictures alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.data.conditions import extract
from bench.data.folder.copies import Fingerprint, Groups, copies, fingerprint
from bench.data.folder.entries import FolderContents, FolderEntry
from bench.data.folder.files import count_with_example
from bench.data.folder.hints import Fit, fit
from bench.data.folder.layout import read_folder
from bench.data.folder.params import FolderParams
from bench.data.folder.pictures import Picture, decode
from bench.interfaces.dataset import AUTO, DEFAULT, Dataset
from bench.interfaces.plugin import Card
from bench.types.records import Records
from bench.util.errors import DataError
from bench.util.progress import Progress

OWN = "own"

T = TypeVar("T")
Box = tuple[float, float, float, float]


class Folder(Dataset):
    """Pictures of any size and mode, turned by their EXIF, cropped to a square and resized."""

    name: ClassVar[str] = "folder"
    Params = FolderParams
    params: FolderParams
    card: ClassVar[Card] = Card(
        summary=(
            "A folder of pictures: Hugging Face imagefolder, Parquet with pictures inside, "
            "captions and hints in files beside the pictures, or pictures alone."
        ),
        source="Hugging Face imagefolder layout; train_controlnet.py of diffusers",
        needs="enough pictures for four disjoint splits; crops=K makes K records of each",
        notes=(
            "Copies of a picture, exact or near, never fall into two splits. Conditions: own takes "
            "the folder's hints, own+canny extracts those that are missing; auto is the one that "
            "fits. Grey deeper than 8 bit is stretched from its darkest to its brightest value. "
            "Every layout, parameter and note: docs/data.md."
        ),
    )

    def __init__(self, params: FolderParams | None = None) -> None:
        super().__init__(params)
        self._readings: dict[bool, FolderContents] = {}
        self._noted: set[str] = set()

    def resolve(self, condition: str) -> str:
        """Return the folder's hints for ``auto`` where it has any.

        Raises:
            DataError: the folder cannot be read.
        """
        if condition != AUTO:
            return condition
        given = {entry.hint is not None for entry in self._read(hints=True).entries}
        if given == {True}:
            return OWN
        return f"{OWN}+{DEFAULT}" if True in given else DEFAULT

    def load(self, limit: int, *, image_size: int, condition: str, progress: Progress) -> Records:
        """Return the first ``limit`` records; see :meth:`Dataset.load`.

        Raises:
            DataError: a picture cannot be read, or has no hint although ``own`` is asked for.
            RequestError: the condition is unknown.
        """
        own, extracted = _kinds(condition)
        reading = self._read(hints=own)
        entries, crops = reading.entries[: -(-limit // self.params.crops)], self.params.crops
        if own and not extracted:
            for entry in entries:
                if entry.hint is None:
                    raise DataError(
                        f"{entry.where}: no conditioning_image; use --condition own+canny to "
                        "extract one"
                    )
        made = _Made()
        with progress.stage("reading pictures", len(entries)) as advance:
            for number, entry in enumerate(entries):
                made.add(entry, number, crops, image_size, hints=own)
                advance(1)
        firsts = copies(made.fingerprints, near=self.params.near_copies)
        self._note(
            progress, (*reading.notes, *_hint_notes(entries, own, extracted), *made.notes(firsts))
        )
        stacked = torch.stack(made.images[:limit])
        again = {first for number, first in enumerate(firsts) if first != number}
        duplicate = [first in again for first in firsts]
        identities = _identities(entries, firsts, [crops > 1 or several for several in duplicate])
        groups = _groups(identities, firsts)
        return Records(
            ids=tuple(
                e.name if crops == 1 else f"{e.name}#{crop}"
                for e in entries
                for crop in range(crops)
            )[:limit],
            images=stacked,
            conditions=_conditions(stacked, made.hints[:limit], extracted),
            prompts=_each(crops, limit, [e.text for e in entries]),
            identities=_each(crops, limit, identities),
            attributes=tuple({} for _ in stacked),
            origins=tuple(made.origins[:limit]),
            groups=_each(crops, limit, groups),
            duplicate=_each(crops, limit, duplicate),
        )

    def _read(self, *, hints: bool) -> FolderContents:
        if hints not in self._readings:
            self._readings[hints] = read_folder(self.params, hints=hints)
        return self._readings[hints]

    def _note(self, progress: Progress, notes: Sequence[str]) -> None:
        """Report each note once, however often records are loaded."""
        for note in notes:
            if note not in self._noted:
                self._noted.add(note)
                progress.note(note)


@dataclass(eq=False)
class _Made:
    """Records as they are made, picture by picture.

    Attributes:
        images: one image per record.
        hints: one hint per record, or None.
        origins: one origin per record.
        names: one name per picture.
        fingerprints: one fingerprint per picture.
        reshaped: pictures whose hint has another shape.
        unturned: pictures that EXIF turned while it did not turn their hint.
        same: pictures that are their own hint.
    """

    images: list[Tensor] = field(default_factory=list)
    hints: list[Tensor | None] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    fingerprints: list[Fingerprint] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    unturned: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)

    def add(self, entry: FolderEntry, number: int, crops: int, size: int, *, hints: bool) -> None:
        """Add the crops of one picture and its hint.

        Raises:
            DataError: one of them cannot be read, or they do not fit together.
        """
        picture = decode(entry.picture.read(entry.where), entry.file_name, entry.where)
        hint: Picture | None = None
        shape = Fit.SAME
        if hints and entry.hint is not None:
            hint = decode(
                entry.hint.read(entry.where), f"the hint of {entry.file_name}", entry.where
            )
            unturned = picture.turned and not hint.turned
            where = f"{entry.where}: {entry.file_name}"
            shape = fit(picture.image, hint.image, where=where, turned=unturned, crops=crops)
            self.reshaped += [entry.name] if shape is Fit.OTHER else []
            self.unturned += [entry.name] if unturned else []
            self.same += [entry.name] if hint.digest == picture.digest else []
        self.names.append(entry.name)
        self.fingerprints.append(
            fingerprint(picture.image, picture.digest, _centre(picture.image.size))
        )
        for crop in range(crops):
            box = _centre(picture.image.size)
            if crops > 1:
                box = _random(picture.image.size, np.random.default_rng([number, crop]))
            self.images.append(_square(picture.image, box, size))
            self.hints.append(
                None if hint is None else _hint(picture.image, hint.image, box, size, shape)
            )
            self.origins.append(f"{picture.digest}|{'' if hint is None else hint.digest}|{crop}")

    def notes(self, firsts: Sequence[int]) -> list[str]:
        """Return one sentence for each kind of unexpected pictures."""
        reasons = (
            (
                self.reshaped,
                "hints are of another shape than their picture; the centre square of each is used",
            ),
            (
                self.unturned,
                "pictures are turned by their EXIF, and their hints are not; make sure that they "
                "fit",
            ),
            (
                self.same,
                "pictures are their own hint, so that the condition gives the picture away",
            ),
        )
        found = [
            f"{len(names)} {what} (the first is {names[0]!r})" for names, what in reasons if names
        ]
        again = [number for number, first in enumerate(firsts) if first != number]
        if again:
            first, second = self.names[firsts[again[0]]], self.names[again[0]]
            found.append(
                f"{len(again)} of {len(firsts)} pictures are copies of others, exact or near (such "
                f"as {second!r} of {first!r}); copies never fall into two splits"
            )
        return found


def _kinds(condition: str) -> tuple[bool, str]:
    """Return whether the folder's hints are wanted, and the extractor for the others, or ""."""
    first, plus, rest = condition.partition("+")
    return (True, rest) if first == OWN and (rest or not plus) else (False, condition)


def _hint_notes(entries: Sequence[FolderEntry], own: bool, extracted: str) -> list[str]:
    """Return a sentence on pictures whose hint is extracted although others have a hint file."""
    missing = [entry.name for entry in entries if entry.hint is None]
    if not own or not missing or len(missing) == len(entries):
        return []
    return [
        f"{count_with_example(missing, 'pictures')} have no hint; it is extracted by {extracted}"
    ]


def _identities(
    entries: Sequence[FolderEntry], firsts: Sequence[int], named: Sequence[bool]
) -> list[str | None]:
    """Return the person or thing that each picture shows, or None.

    Copies of a picture show one identity, whether or not the folder gives it for each of them.

    Args:
        entries: the pictures.
        firsts: the first copy of each picture.
        named: pictures that several records show, which get an identity where the folder gives
            none.
    """
    known: dict[int, str] = {}
    for first, entry in zip(firsts, entries, strict=True):
        if entry.identity is not None:
            known.setdefault(first, entry.identity)
    return [
        entry.identity or known.get(first) or (entries[first].name if several else None)
        for entry, first, several in zip(entries, firsts, named, strict=True)
    ]


def _groups(identities: Sequence[str | None], firsts: Sequence[int]) -> list[str]:
    """Return for each picture the group that splits may not divide.

    Such a group joins copies and pictures of one identity.
    """
    joined = Groups(len(firsts))
    joined.join_equal(firsts)
    joined.join_equal(identities)
    # Named as records without groups are, so that without copies nothing is dealt otherwise.
    return [
        f"record {first}" if (identity := identities[first]) is None else f"identity {identity}"
        for first in joined.firsts()
    ]


def _each(crops: int, limit: int, values: Sequence[T]) -> tuple[T, ...]:
    """Return one value per picture as one value per record."""
    return tuple(value for value in values for _ in range(crops))[:limit]


def _conditions(images: Tensor, hints: list[Tensor | None], extracted: str) -> Tensor:
    """Return the folder's hints where there are any, else extracted ones."""
    conditions = extract(extracted, images) if extracted else torch.zeros_like(images)
    for i, hint in enumerate(hints):
        if hint is not None:
            conditions[i] = hint
    return conditions


def _centre(size: tuple[int, int]) -> Box:
    """Return the centre square."""
    width, height = size
    side = float(min(width, height))
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _random(size: tuple[int, int], rng: np.random.Generator) -> Box:
    """Return a random square of at least half the shorter side."""
    width, height = size
    side = float(min(width, height)) * rng.uniform(0.5, 1.0)
    left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
    return left, top, left + side, top + side


def _hint(picture: Image.Image, hint: Image.Image, box: Box, size: int, shape: Fit) -> Tensor:
    """Return the part of a hint that lies over ``box`` of its picture.

    For a hint of another shape this is its centre square.
    """
    if shape is Fit.OTHER:
        return _square(hint, _centre(hint.size), size)
    fitted = (
        hint if hint.size == picture.size else hint.resize(picture.size, Image.Resampling.LANCZOS)
    )
    return _square(fitted, box, size)


def _square(picture: Image.Image, box: Box, size: int) -> Tensor:
    """Return a square of a picture as ``(3, size, size)`` uint8."""
    resized = picture.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return torch.from_numpy(np.asarray(resized, dtype=np.uint8).copy()).permute(2, 0, 1)
