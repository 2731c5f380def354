"""Reads Parquet files: their words at once, the pictures inside them one row group at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from bench.data.folder.files import refuse_pointer
from bench.util.errors import DataError

MOST_ROWS = 2_000_000
MOST_WORD_BYTES = 1 << 30
MOST_GROUP_BYTES = 4 << 30
"""Limit for the pictures of one row group, uncompressed."""


@dataclass(frozen=True)
class PackedPicture:
    """A picture inside a Parquet file.

    Attributes:
        reader: reads the row group and keeps it for the next picture.
        file: the Parquet file.
        column: the column.
        group: number of the row group.
        index: row in the row group.
        path: name of the picture's file before it was packed, or None.
    """

    reader: PictureReader = field(compare=False, repr=False)
    file: Path
    column: str
    group: int
    index: int
    path: str | None

    def read(self, where: str) -> bytes:
        """Return the bytes of the picture's file.

        Raises:
            DataError: the row is empty, or the Parquet file is damaged.
        """
        found = self.reader.group(self.file, self.column, self.group)[self.index].as_py()
        content = found.get("bytes") if isinstance(found, dict) else found
        if not isinstance(content, bytes) or not content:
            raise DataError(f"{where}: column {self.column!r} holds no bytes of a picture")
        return content


class PictureReader:
    """Keeps the last row group that was read of each column, since rows are read in order."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Path, int, Any]] = {}

    def group(self, file: Path, column: str, number: int) -> Any:
        """Return one column of one row group, as an Arrow array.

        Raises:
            DataError: the row group is too large for memory, or damaged.
        """
        held = self._held.get(column)
        if held is None or held[:2] != (file, number):
            self._held.pop(column, None)
            with _opened(file) as opened:
                size = _bytes_of(opened.metadata, number, {column})
                if size > MOST_GROUP_BYTES:
                    raise DataError(
                        f"{file}: row group {number} holds {size >> 20:,} MiB of pictures; write "
                        "it anew with smaller row groups"
                    )
                held = file, number, opened.read_row_group(number, columns=[column]).column(0)
            self._held[column] = held
        return held[2]


def has_pictures(file: Path) -> bool:
    """Return whether a Parquet file has a column of pictures.

    Raises:
        DataError: it is no Parquet file.
    """
    with _opened(file) as opened:
        return any(_is_picture(column.type) for column in opened.schema_arrow)


def read_parquet(
    file: Path, reader: PictureReader
) -> tuple[tuple[str, ...], list[dict[str, object]]]:
    """Return the names of all columns, and the words, numbers and pictures of each row.

    Columns of other types are not read.

    Raises:
        DataError: the file is damaged, or too large.
    """
    with _opened(file) as opened:
        schema, metadata = opened.schema_arrow, opened.metadata
        pictures = [column.name for column in schema if _is_picture(column.type)]
        words = [column.name for column in schema if _is_words(column.type)]
        size = sum(
            _bytes_of(metadata, number, set(words)) for number in range(metadata.num_row_groups)
        )
        if metadata.num_rows > MOST_ROWS or size > MOST_WORD_BYTES:
            raise DataError(
                f"{file}: {metadata.num_rows:,} rows with {size >> 20:,} MiB of words are too "
                "many; divide the file"
            )
        rows: list[dict[str, object]] = []
        for number in range(metadata.num_row_groups):
            read = opened.read_row_group(number, columns=words).to_pylist() if words else []
            count = metadata.row_group(number).num_rows
            found: list[dict[str, object]] = read or [{} for _ in range(count)]
            for name in pictures:
                paths = _paths(opened, number, name, schema.field(name).type, count)
                for index, (row, there) in enumerate(zip(found, paths, strict=True)):
                    row[name] = there and PackedPicture(
                        reader, file, name, number, index, there.get("path")
                    )
            rows += found
    return tuple(schema.names), rows


def _paths(
    opened: Any, number: int, name: str, kind: Any, count: int
) -> list[dict[str, Any] | None]:
    """Return for each row a mapping with the picture's former path, or None without a picture."""
    if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
        return [{"path": None}] * count
    column = opened.read_row_group(number, columns=[f"{name}.path"]).column(0)
    return [None if row is None else {"path": row.get("path")} for row in column.to_pylist()]


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open a Parquet file, and turn errors of the library into one sentence."""
    try:
        with file.open("rb") as stream:
            refuse_pointer(stream.read(64), str(file))
        with parquet.ParquetFile(file) as opened:
            yield opened
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        raise DataError(f"{file}: not a readable Parquet file") from error


def _bytes_of(metadata: Any, number: int, columns: set[str]) -> int:
    group = metadata.row_group(number)
    chunks = (group.column(i) for i in range(group.num_columns))
    return sum(
        chunk.total_uncompressed_size
        for chunk in chunks
        if chunk.path_in_schema.split(".")[0] in columns
    )


def _is_binary(kind: Any) -> bool:
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )


def _is_picture(kind: Any) -> bool:
    """Return whether a type is bytes, or the struct of ``datasets`` with ``bytes`` and ``path``."""
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return _is_binary(kind.field("bytes").type)
    return _is_binary(kind)


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_words(kind: Any) -> bool:
    """Return whether a type is text, a list of texts, or a number, which may be an identity."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_text(kind.value_type)
    return _is_text(kind) or bool(
        pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    )
