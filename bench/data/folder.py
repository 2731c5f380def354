"""A user's own pictures, in the Hugging Face imagefolder layout or as a plain folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from bench.data.conditions import extract
from bench.errors import DataError
from bench.interfaces import Dataset
from bench.plugin import Card, Params
from bench.progress import Progress
from bench.records import Records

METADATA = "metadata.jsonl"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


class FolderParams(Params):
    """Attributes:
    path: the folder.
    crops: random square crops taken from each picture, each a record of its own; 1 takes the centre.
        The crops of one picture share its identity, so they never fall into two splits.
    """

    path: str
    crops: int = 1


@dataclass(frozen=True)
class _Entry:
    """One line of the metadata, or one file of a plain folder."""

    file: Path
    where: str
    text: str
    conditioning_image: Path | None
    identity: str | None


class Folder(Dataset):
    """Pictures of any size and mode are turned by their EXIF, cropped to a square and resized."""

    name = "folder"
    Params = FolderParams
    card = Card(
        summary="A folder of pictures: with metadata.jsonl (file_name, text, conditioning_image, identity), or plain.",
        source="Hugging Face imagefolder layout",
        needs="enough pictures for four disjoint splits; crops=K makes K records of each",
    )

    def load(self, limit: int, *, image_size: int, condition: str, progress: Progress) -> Records:
        root = Path(self.params.path).expanduser()
        if not root.is_dir():
            raise DataError(f"folder:{root}: no such folder")
        entries = _entries(root)
        if not entries:
            raise DataError(f"{root}: no pictures ({', '.join(sorted(SUFFIXES))}) in this folder")
        rng = np.random.default_rng(0)
        ids, images, hints, prompts, identities = [], [], [], [], []
        with progress.stage("reading pictures", len(entries)) as advance:
            for entry in entries:
                picture = _open(entry.file, entry.where)
                hint = None if entry.conditioning_image is None else _open(entry.conditioning_image, entry.where)
                name = entry.file.relative_to(root).as_posix()
                for crop in range(self.params.crops):
                    box = _box(picture.size, None if self.params.crops == 1 else rng)
                    ids.append(name if self.params.crops == 1 else f"{name}#{crop}")
                    images.append(_square(picture, box, image_size))
                    hints.append(None if hint is None else _square(_fit(hint, picture.size), box, image_size))
                    prompts.append(entry.text)
                    identities.append(entry.identity if self.params.crops == 1 else entry.identity or name)
                advance(1)
        keep = slice(None, limit)
        stacked = torch.stack(images)
        return Records(
            ids=tuple(ids)[keep],
            images=stacked[keep],
            conditions=_conditions(stacked[keep], hints[keep], condition),
            prompts=tuple(prompts)[keep],
            identities=tuple(identities)[keep],
            attributes=tuple({} for _ in ids[keep]),
        )


def _conditions(images: Tensor, hints: list[Tensor | None], condition: str) -> Tensor:
    """The folder's own condition images where there are any, else extracted ones."""
    conditions = extract(condition, images) if any(h is None for h in hints) else torch.zeros_like(images)
    for i, hint in enumerate(hints):
        if hint is not None:
            conditions[i] = hint
    return conditions


def _entries(root: Path) -> list[_Entry]:
    metadata = root / METADATA
    if metadata.exists():
        return _metadata_entries(root, metadata)
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    return [_Entry(f, str(f), _caption(f), None, None) for f in files]


def _caption(file: Path) -> str:
    """A prompt for a picture without one: its name in words."""
    return "a photo of " + " ".join(file.stem.replace("_", " ").replace("-", " ").split())


def _metadata_entries(root: Path, metadata: Path) -> list[_Entry]:
    entries = []
    try:
        lines = metadata.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{metadata}: not UTF-8 text") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{metadata}, line {number}"
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise DataError(f"{where}: not valid JSON") from error
        if not isinstance(fields, dict):
            raise DataError(f"{where}: must be a JSON object")
        hint = fields.get("conditioning_image")
        identity = fields.get("identity")
        entries.append(
            _Entry(
                file=_inside(root, _text(fields, "file_name", where), where),
                where=where,
                text=_text(fields, "text", where),
                conditioning_image=None if hint is None else _inside(root, str(hint), where),
                identity=None if identity is None else str(identity),
            )
        )
    return entries


def _text(fields: dict[str, Any], name: str, where: str) -> str:
    if name not in fields:
        raise DataError(f"{where}: column {name!r} is missing")
    if not isinstance(fields[name], str) or not fields[name].strip():
        raise DataError(f"{where}: {name!r} must be a text that is not empty")
    return str(fields[name])


def _inside(root: Path, name: str, where: str) -> Path:
    """A file below ``root``; names that lead out of it are refused."""
    file = (root / name).resolve()
    if not file.is_relative_to(root.resolve()):
        raise DataError(f"{where}: {name!r} leads out of the folder")
    if not file.is_file():
        raise DataError(f"{where}: file {name!r} does not exist")
    return root / name


def _open(file: Path, where: str) -> Image.Image:
    try:
        with Image.open(file) as picture:
            turned = ImageOps.exif_transpose(picture)
            if turned.mode in ("I;16", "I", "F"):
                turned = Image.fromarray(_to_byte(np.asarray(turned)))
            if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
                white = Image.new("RGBA", turned.size, "white")
                turned = Image.alpha_composite(white, turned.convert("RGBA"))
            return turned.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: {file.name} cannot be read as a picture") from error


def _to_byte(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Deep grey values stretched over 0..255."""
    wide = values.astype(np.float64)
    low, high = float(wide.min()), float(wide.max())
    return ((wide - low) / max(high - low, 1e-12) * 255).round().astype(np.uint8)


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
    return hint if hint.size == size else hint.resize(size, Image.Resampling.LANCZOS)


def _square(picture: Image.Image, box: tuple[float, float, float, float], size: int) -> Tensor:
    """``(3, size, size)`` uint8."""
    resized = picture.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return torch.from_numpy(np.asarray(resized, dtype=np.uint8).copy()).permute(2, 0, 1)
