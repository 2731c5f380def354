"""Lists what a folder holds, without opening any file."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from bench.util.errors import DataError

_USUAL = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SUFFIXES = frozenset((*_USUAL, ".ppm", ".pgm", ".pnm", ".jp2", ".avif"))
"""Formats that are read; of animated pictures, the first frame is taken."""
UNREADABLE = frozenset(
    {".heic", ".heif", ".jxl", ".svg", ".psd", ".exr", ".hdr", ".dng", ".cr2", ".nef", ".arw"}
)
"""Formats that are not read."""
CAPTIONS = (".txt", ".caption")
"""Endings of files that hold the prompt of the picture with an equal name."""
TABLES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
CONTROLNET_TABLE = "prompt.json"
"""Metadata of the ControlNet tutorial: JSON lines with ``source``, ``target`` and ``prompt``."""
ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".arrow", ".rar", ".7z"})
MOST_FILES = 5_000_000

_CLUTTER = frozenset(
    {"@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "thumbs.db"}
)
"""Names that servers and systems write, besides hidden names and those with ``__`` in front."""


@dataclass(frozen=True)
class Listing:
    """Files below a folder, each by its path relative to the folder with ``/`` between the parts.

    Attributes:
        root: the folder.
        files: every file, including those that are skipped.
        pictures: pictures, sorted.
        tables: files with metadata.
        shards: Parquet files that are no metadata.
        texts: files that may hold a caption.
        unread: other files that may hold metadata.
        skipped: pictures and metadata of systems and tools, such as ``._000.jpg``.
        unreadable: pictures of formats that are not read.
        archives: archives and Arrow files.
        broken: links to files that do not exist.
        linked: links to folders, which are not followed.
    """

    root: Path
    files: frozenset[str]
    pictures: tuple[str, ...]
    tables: tuple[str, ...]
    shards: tuple[str, ...]
    texts: frozenset[str]
    unread: tuple[str, ...]
    skipped: tuple[str, ...]
    unreadable: tuple[str, ...]
    archives: tuple[str, ...]
    broken: tuple[str, ...]
    linked: tuple[str, ...]

    def notes(self) -> list[str]:
        """Return one sentence for each kind of files that is skipped."""
        reasons = (
            (self.skipped, "files of the system or of tools", "are skipped"),
            (
                self.unreadable,
                "pictures",
                "are of a kind that is not read, convert them to PNG or JPEG",
            ),
            (self.broken, "links", "point to files that are not there, and are left out"),
            (self.linked, "linked folders", "are not followed, give the folder that they point to"),
        )
        return [
            f"{self.root}: {count_with_example(names, what)} {why}"
            for names, what, why in reasons
            if names
        ]

    def find(self, name: str) -> str | None:
        """Return the file that metadata call ``name``, or None.

        Names written on Windows or in another Unicode normal form are found too. The result is a
        file that the folder itself lists, so no name leads out of it.
        """
        for form in (name, name.replace("\\", "/")):
            path = os.path.normpath(form).replace(os.sep, "/")
            if path in self.files:
                return path
            if (composed := self._composed.get(unicodedata.normalize("NFC", path))) is not None:
                return composed
        return None

    @cached_property
    def _composed(self) -> dict[str, str]:
        return {
            unicodedata.normalize("NFC", name): name for name in self.files if not name.isascii()
        }


def refuse_pointer(beginning: bytes, where: str) -> None:
    """Refuse the text that Git LFS leaves in a file's place until its content is fetched.

    Raises:
        DataError: the message gives the command that fetches the content.
    """
    if beginning.startswith(b"version https://git-lfs"):
        raise DataError(
            f"{where} is a Git LFS pointer and not yet the file; run `git lfs pull` in its "
            "repository"
        )


def count_with_example(names: Sequence[str], what: str) -> str:
    """Return a text such as ``3 pictures (the first is 'a.png')``."""
    return f"{len(names)} {what} (the first is {names[0]!r})"


def list_folder(root: Path) -> Listing:
    """List a folder and everything below it; links to folders are not followed.

    Raises:
        DataError: it is no folder, or cannot be listed.
    """
    if not root.is_dir():
        what = "is a file, give the folder that it lies in" if root.is_file() else "no such folder"
        raise DataError(f"folder:{root}: {what}")
    files: list[str] = []
    broken, linked = [], []
    for place, folders, names in os.walk(root, onerror=_refuse):
        linked += [
            _relative(root, place, name)
            for name in folders
            if os.path.islink(os.path.join(place, name))
        ]
        for name in names:
            path = os.path.join(place, name)
            if os.path.isfile(path):
                files.append(_relative(root, place, name))
            elif os.path.islink(path) and _suffix(name) in SUFFIXES | {".parquet"}:
                broken.append(_relative(root, place, name))
        if len(files) > MOST_FILES:
            raise DataError(f"{root}: holds more than {MOST_FILES:,} files; give a smaller folder")
    files.sort(key=lambda name: name.split("/"))
    kept = [name for name in files if not _is_clutter(name)]
    pictures = tuple(name for name in kept if _suffix(name) in SUFFIXES)
    tables = _tables(kept)
    return Listing(
        root=root,
        files=frozenset(files),
        pictures=pictures,
        tables=tables,
        shards=tuple(n for n in kept if _suffix(n) == ".parquet" and n not in tables),
        texts=frozenset(n for n in kept if _suffix(n) in CAPTIONS),
        unread=tuple(
            n for n in kept if _suffix(n) in (".jsonl", ".json", ".csv", ".tsv") and n not in tables
        ),
        skipped=tuple(
            n for n in files if _is_clutter(n) and (_suffix(n) in SUFFIXES or _base(n) in TABLES)
        ),
        unreadable=tuple(n for n in kept if _suffix(n) in UNREADABLE),
        archives=tuple(n for n in kept if _suffix(n) in ARCHIVES),
        broken=tuple(sorted(broken)),
        linked=tuple(sorted(name for name in linked if not _is_clutter(name))),
    )


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: this folder cannot be listed ({error.strerror})") from error


def _relative(root: Path, place: str, name: str) -> str:
    return os.path.relpath(os.path.join(place, name), root).replace(os.sep, "/")


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _is_clutter(name: str) -> bool:
    """Return whether a file is hidden, or made by a system or a tool."""
    return any(part.startswith((".", "__")) or part.lower() in _CLUTTER for part in name.split("/"))


def _tables(kept: list[str]) -> tuple[str, ...]:
    """Return metadata files; that of the ControlNet tutorial only where a folder has no other."""
    named = [name for name in kept if _base(name) in TABLES]
    places = {name.rpartition("/")[0] for name in named}
    old = [n for n in kept if _base(n) == CONTROLNET_TABLE and n.rpartition("/")[0] not in places]
    return tuple(sorted(named + old))
