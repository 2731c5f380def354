"""Which pictures a folder holds, and what its metadata says of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import DataError

METADATA = "metadata.jsonl"
UNREAD = ("metadata.csv", "metadata.parquet")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
MOST_WORDS = 75
"""The text encoders of Stable Diffusion 1.x and 2.x keep 75 tokens, and a word is at least one."""
MOST_CHARACTERS = 1000


@dataclass(frozen=True)
class Entry:
    """One line of the metadata, or one file of a plain folder.

    Attributes:
        name: of the picture, relative to the folder.
        where: what an error names: metadata file and line, or the file.
    """

    name: str
    file: Path
    where: str
    text: str
    conditioning_image: Path | None
    identity: str | None


def read_entries(root: Path) -> list[Entry]:
    """Every picture of a folder; opens none.

    Raises:
        DataError: names the file and line.
    """
    metadata = root / METADATA
    if metadata.exists():
        return _from_metadata(root, metadata)
    for name in UNREAD:
        if (root / name).exists():
            raise DataError(f"{root / name}: only {METADATA} is read, one JSON object a line; convert it")
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    return [Entry(f.relative_to(root).as_posix(), f, str(f), _fitting(_caption(f), str(f)), None, None) for f in files]


def _caption(file: Path) -> str:
    """A prompt for a picture without one: its name in words."""
    return "a photo of " + " ".join(file.stem.replace("_", " ").replace("-", " ").split())


def _from_metadata(root: Path, metadata: Path) -> list[Entry]:
    try:
        # Not splitlines(), which would also split inside a text that holds U+2028.
        lines = metadata.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        number = metadata.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(f"{metadata}, line {number}: not UTF-8 text; save the file as UTF-8") from error
    except OSError as error:
        raise DataError(f"{metadata}: cannot be read ({error.strerror})") from error
    entries: list[Entry] = []
    seen: dict[Path, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        entry = _entry(root, line, f"{metadata}, line {number}")
        first = seen.setdefault(entry.file.resolve(), number)
        if first != number:
            raise DataError(f"{entry.where}: file {entry.name!r} is named in line {first} already; keep one of them")
        entries.append(entry)
    return entries


def _entry(root: Path, line: str, where: str) -> Entry:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON") from error
    if not isinstance(fields, dict):
        raise DataError(f"{where}: must be a JSON object")
    hint, identity = fields.get("conditioning_image"), fields.get("identity")
    name = _text(fields, "file_name", where)
    file = _inside(root, name, where)
    return Entry(
        name=file.relative_to(root).as_posix(),
        file=file,
        where=where,
        text=_fitting(_text(fields, "text", where), where),
        conditioning_image=None if hint is None else _inside(root, str(hint), where),
        identity=None if identity is None else str(identity),
    )


def _text(fields: dict[str, Any], name: str, where: str) -> str:
    if name not in fields:
        raise DataError(f"{where}: column {name!r} is missing")
    text = fields[name]
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: {name!r} must be a text that is not empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: {name!r} holds half a Unicode character at position {error.start}") from error
    return text


def _fitting(text: str, where: str) -> str:
    """The prompt, if a text encoder can possibly keep all of it; what it keeps is for the model to say."""
    words = len(text.split())
    if words > MOST_WORDS or len(text) > MOST_CHARACTERS:
        raise DataError(
            f"{where}: the prompt has {words} words and {len(text)} characters; shorten it to {MOST_WORDS} words "
            f"and {MOST_CHARACTERS} characters, for no Stable Diffusion keeps more"
        )
    return text


def _inside(root: Path, name: str, where: str) -> Path:
    """A file below ``root``; names that lead out of it are refused."""
    try:
        file = (root / name).resolve()
        found = file.is_file()
    except (ValueError, OSError) as error:
        raise DataError(f"{where}: {name[:80]!r} cannot be the name of a file") from error
    if not file.is_relative_to(root.resolve()):
        raise DataError(f"{where}: {name!r} leads out of the folder")
    if not found:
        raise DataError(f"{where}: file {name!r} does not exist")
    return root / name
