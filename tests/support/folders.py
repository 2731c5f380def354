"""Folders of pictures for tests, and what comes of reading them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.folder.dataset import Folder
from bench.interfaces import Records, Silent


class Notes(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@dataclass(frozen=True)
class Loaded:
    """The records of a folder, the condition that ``auto`` became, and the notes."""

    records: Records
    condition: str
    notes: list[str] = field(default_factory=list)

    def said(self, *words: str) -> bool:
        """Whether exactly one note holds all these words."""
        return sum(all(word in note for word in words) for note in self.notes) == 1


def load(path: Path, limit: int = 1000, condition: str = "auto", **params: object) -> Loaded:
    """What ``--data folder:path=PATH`` with these parameters gives, 32 pixels wide."""
    notes = Notes()
    dataset: Folder = Folder.build({"path": str(path), **params})
    resolved = dataset.resolve(condition)
    records = dataset.load(limit, image_size=32, condition=resolved, progress=notes)
    assert all("\n" not in note for note in notes.texts)
    return Loaded(records, resolved, notes.texts)


def picture(number: int, size: tuple[int, int] = (40, 40)) -> Image.Image:
    """Coloured noise that no other number gives; smooth enough to survive JPEG."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (10, 10, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def png(number: int, size: tuple[int, int] = (40, 40)) -> bytes:
    stream = io.BytesIO()
    picture(number, size).save(stream, "PNG")
    return stream.getvalue()


def fill(
    folder: Path,
    count: int = 4,
    first: int = 0,
    size: tuple[int, int] = (40, 40),
    name: str = "{:03d}.png",
) -> Path:
    """Pictures ``000.png`` and so on, numbered from ``first`` in what they show."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        (folder / name.format(i)).write_bytes(png(first + i, size))
    return folder


def jsonl(folder: Path, *rows: Mapping[str, object]) -> None:
    (folder / "metadata.jsonl").write_text(
        "\n".join(json.dumps(row) for row in rows), encoding="utf-8"
    )


def as_csv(
    folder: Path,
    columns: Sequence[str],
    *rows: Sequence[str],
    delimiter: str = ",",
    start: str = "",
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([columns, *rows])
    (folder / "metadata.csv").write_bytes((start + text.getvalue()).encode())


def shows(
    records: Records, number: int, picture_number: int, size: tuple[int, int] = (40, 40)
) -> bool:
    """Whether a record is the centre square of picture ``picture_number``, and no other."""
    image = picture(picture_number, size)
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    expected = np.asarray(
        image.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.LANCZOS),
        np.float64,
    )
    found = records.images[number].permute(1, 2, 0).numpy().astype(np.float64)
    return bool(np.abs(found - expected).mean() < 6)


def hint_shows(
    records: Records, number: int, picture_number: int, size: tuple[int, int] = (40, 40)
) -> bool:
    """As :func:`shows`, of the hint."""
    swapped = Records(
        records.ids,
        records.conditions,
        records.images,
        records.prompts,
        records.identities,
        records.attributes,
    )
    return shows(swapped, number, picture_number, size)
