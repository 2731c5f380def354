"""Reads the metadata of a folder: JSON lines, CSV or Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.folder.files import refuse_pointer
from bench.data.folder.parquet import MOST_ROWS, PictureReader, read_parquet
from bench.util.csv_text import CsvError, split_fields
from bench.util.errors import DataError

MOST_BYTES = 512 << 20
MOST_FIELD = 1_000_000
"""Limit for the characters of one CSV field."""


@dataclass(frozen=True)
class Row:
    """The metadata of one picture.

    Attributes:
        where: the place that a message names: the file and the line.
        fields: values by column; None where a field is empty.
    """

    where: str
    fields: dict[str, object]


@dataclass(frozen=True)
class MetadataTable:
    """The metadata of a folder.

    Attributes:
        name: name for messages.
        folder: folder to which names of files are relative, itself relative to the listed folder;
            "" is that folder.
        columns: columns of any row, in the order of their appearance.
        rows: one row per picture.
    """

    name: str
    folder: str
    columns: tuple[str, ...]
    rows: Sequence[Row]


def read_table(root: Path, name: str) -> MetadataTable:
    """Return the metadata in file ``name`` below ``root``.

    Raises:
        DataError: it cannot be read; the message names the file and the line.
    """
    file = root / name
    folder = name.rpartition("/")[0]
    if file.suffix == ".parquet":
        return read_shards(root, [name], folder)
    content = _content(file)
    columns, rows = _csv_rows(file, content) if file.suffix == ".csv" else _json_rows(file, content)
    return MetadataTable(str(file), folder, columns, rows)


def read_shards(root: Path, names: Sequence[str], folder: str) -> MetadataTable:
    """Return the rows of one or several Parquet files as one table.

    Raises:
        DataError: a file cannot be read, or the files differ in their columns.
    """
    reader = PictureReader()
    rows: list[Row] = []
    columns: tuple[str, ...] | None = None
    for name in names:
        found, fields = read_parquet(root / name, reader)
        if columns is not None and set(found) != set(columns):
            other = sorted(set(found) ^ set(columns))[0]
            raise DataError(
                f"{root / name}: column {other!r} is in some of the {len(names)} files and not in "
                "others"
            )
        columns = columns or found
        rows += [Row(f"{root / name}, row {number}", row) for number, row in enumerate(fields)]
    shown = (
        str(root / names[0]) if len(names) == 1 else f"{root / names[0]} and {len(names) - 1} more"
    )
    return MetadataTable(shown, folder, columns or (), rows)


def _content(file: Path) -> str:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise DataError(
                f"{file}: more than {MOST_BYTES >> 20} MiB of metadata; divide the folder"
            )
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    refuse_pointer(content[:64], str(file))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise DataError(f"{file}, line {number}: not UTF-8 text; save the file as UTF-8") from error


def _check_count(file: Path, rows: Sequence[Row]) -> None:
    if len(rows) > MOST_ROWS:
        raise DataError(f"{file}: more than {MOST_ROWS:,} rows; divide the folder")


def _json_rows(file: Path, content: str) -> tuple[tuple[str, ...], list[Row]]:
    rows: list[Row] = []
    columns: dict[str, None] = {}
    # Not splitlines(), which would also split inside a text that holds U+2028.
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not valid JSON") from error
        if not isinstance(fields, dict):
            raise DataError(f"{where}: must be a JSON object")
        columns |= dict.fromkeys(fields)
        rows.append(Row(where, fields))
        _check_count(file, rows)
    return tuple(columns), rows


def _csv_rows(file: Path, content: str) -> tuple[tuple[str, ...], list[Row]]:
    rows: list[Row] = []
    columns: tuple[str, ...] = ()
    try:
        for line, fields, _ in split_fields(content, MOST_FIELD):
            where = f"{file}, line {line}"
            if not columns:
                columns = tuple(name.strip() for name in fields)
                if not all(columns) or len(set(columns)) != len(columns):
                    raise DataError(f"{where}: every column needs a name, and each another")
                continue
            if len(fields) != len(columns):
                raise DataError(
                    f"{where}: has {len(fields)} fields, but the header names "
                    f"{len(columns)} columns"
                )
            rows.append(
                Row(where, {name: text or None for name, text in zip(columns, fields, strict=True)})
            )
            _check_count(file, rows)
    except CsvError as error:
        raise DataError(f"{file}, line {error.line}: not valid CSV ({error})") from error
    return columns, rows
