"""One entry per picture of a folder, and the entries that metadata name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.folder.captions import Caption, caption_notes, read_caption
from bench.data.folder.columns import choose_columns
from bench.data.folder.files import Listing, count_with_example
from bench.data.folder.params import FolderParams
from bench.data.folder.parquet import PackedPicture
from bench.data.folder.tables import MetadataTable, Row
from bench.util.errors import DataError

MOST_BYTES = 1 << 30
"""Limit for the file of one picture."""
_LONGEST_NAME = 4096


@dataclass(frozen=True)
class PictureFile:
    """A picture in a separate file."""

    path: Path

    def read(self, where: str) -> bytes:
        """Return the bytes of the file.

        Raises:
            DataError: the file cannot be read, or is too large.
        """
        try:
            if self.path.stat().st_size > MOST_BYTES:
                raise DataError(
                    f"{where}: {self.path.name} has more than {MOST_BYTES >> 20} MiB; make it "
                    "smaller"
                )
            return self.path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{where}: {self.path.name} cannot be read ({error.strerror})"
            ) from error


Source = PictureFile | PackedPicture


@dataclass(frozen=True)
class FolderEntry:
    """One picture with its hint, its prompt and its identity.

    Attributes:
        name: unique name; for a file its path relative to the folder.
        where: the place that a message names: metadata file and line, or the file.
        picture: the picture's source.
        hint: the source of its hint, where the folder holds one, or None.
        text: the prompt.
        identity: the person or thing that the picture shows, where the folder gives it, or None.
    """

    name: str
    where: str
    picture: Source
    hint: Source | None
    text: str
    identity: str | None = None

    @property
    def file_name(self) -> str:
        """The name of the picture's file, for messages."""
        return self.picture.path.name if isinstance(self.picture, PictureFile) else self.name


@dataclass(frozen=True)
class FolderContents:
    """The entries of a folder, with one sentence on everything that a user may not expect."""

    entries: tuple[FolderEntry, ...]
    notes: tuple[str, ...]


def from_table(
    listing: Listing, table: MetadataTable, params: FolderParams, *, hints: bool
) -> FolderContents:
    """Return the entries that metadata name, in their order.

    Raises:
        DataError: the message names the file and the line.
    """
    if not table.rows:
        raise DataError(f"{table.name}: names no picture")
    columns = choose_columns(table, params, hints=hints)
    entries: list[FolderEntry] = []
    captions: list[Caption] = []
    first_named: dict[str, str] = {}
    hint_files: set[str] = set()
    for number, row in enumerate(table.rows):
        if columns.picture not in row.fields:
            raise DataError(f"{row.where}: column {columns.picture!r} is missing")
        name, source = _source(listing, table, row, columns.picture, number)
        if name in first_named:
            raise DataError(
                f"{row.where}: file {name!r} is named in {first_named[name]} already; keep one of "
                "them, several captions may stand in a list"
            )
        first_named[name] = row.where.rpartition(", ")[2]
        hint: Source | None = None
        if columns.hint is not None and row.fields.get(columns.hint) not in (None, ""):
            hint_name, hint = _source(listing, table, row, columns.hint, number)
            hint_files.add(hint_name)
        text = None if columns.caption is None else row.fields.get(columns.caption)
        caption = read_caption(
            text, row.where, column=columns.caption or "", name=name, seed=params.seed
        )
        captions.append(caption)
        entries.append(
            FolderEntry(
                name, row.where, source, hint, caption.text, _identity(row, columns.identity)
            )
        )
    notes = [*columns.notes]
    if columns.caption is not None:
        notes += caption_notes(captions, [entry.name for entry in entries], params.seed)
    return FolderContents(
        tuple(entries), (*notes, *_left_out(listing, table, {*first_named, *hint_files}))
    )


def _source(
    listing: Listing, table: MetadataTable, row: Row, column: str, number: int
) -> tuple[str, Source]:
    """Return the name of a row's picture and its place.

    The picture lies in the row, or in a file relative to the folder of the metadata.
    """
    value = row.fields[column]
    if isinstance(value, PackedPicture):
        return f"{value.file.relative_to(listing.root).as_posix()}/{number:06d}", value
    name = value.get("path") if isinstance(value, dict) else value
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{row.where}: {column!r} must be the name of a file")
    if "\0" in name or len(name) > _LONGEST_NAME:
        raise DataError(f"{row.where}: {name[:80]!r} cannot be the name of a file")
    path = os.path.normpath(os.path.join(table.folder, name))
    if os.path.isabs(path) or path.split(os.sep)[0] == os.pardir:
        raise DataError(f"{row.where}: {name!r} leads out of the folder")
    found = listing.find(os.path.join(table.folder, name))
    if found is None:
        raise DataError(f"{row.where}: file {name!r} does not exist")
    return found, PictureFile(listing.root / found)


def _identity(row: Row, column: str | None) -> str | None:
    value = None if column is None else row.fields.get(column)
    if value is None or value == "":
        return None
    if not isinstance(value, str | int):
        raise DataError(f"{row.where}: {column!r} must be a text or a number")
    return str(value)


def _left_out(listing: Listing, table: MetadataTable, named: set[str]) -> Sequence[str]:
    """Return a sentence on pictures beside the metadata that it does not name."""
    below = f"{table.folder}/" if table.folder else ""
    rest = [name for name in listing.pictures if name.startswith(below) and name not in named]
    return (
        [
            f"{table.name}: {count_with_example(rest, 'pictures')} in its folder are not named in "
            "it and left out"
        ]
        if rest
        else []
    )
