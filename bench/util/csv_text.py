"""CSV tables written by this project, or saved again by a spreadsheet program."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from bench.util.errors import DataError

LONGEST = 100_000
"""Characters in one field; a spec has about 4,000."""

_DECIMAL_COMMA = re.compile(r"-?[0-9]+,[0-9]+([eE][-+]?[0-9]+)?")


def read_table(path: Path, *, texts: frozenset[str] = frozenset()) -> list[dict[str, str]]:
    """Return the lines of a CSV file by column, with empty texts for empty fields.

    Args:
        path: the file.
        texts: columns in which ``1,5`` is text, not a number.

    Raises:
        DataError: see :func:`read_lines`.
    """
    header, *rows = read_lines(path, texts=texts) or [[]]
    return [dict(zip(header, fields, strict=True)) for fields in rows]


def read_lines(path: Path, *, texts: frozenset[str] = frozenset()) -> list[list[str]]:
    """Return the lines of a CSV file, the header first; an empty file has none.

    The function accepts what spreadsheet programs write: a byte order mark, semicolons or tabs
    between fields, a first line ``sep=;``, any line ends, and empty lines.

    Args:
        path: the file.
        texts: columns in which ``1,5`` is text, not a number.

    Raises:
        DataError: the file is missing, is not UTF-8 or not CSV, has a column twice, a line with
            more or fewer fields than the header, or numbers with a decimal comma.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: file is missing") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not a readable CSV file: not in UTF-8; save it as CSV UTF-8"
        ) from error
    found: list[list[str]] = []
    try:
        for line, fields, separator in split_fields(text, LONGEST):
            if not found and len(set(fields)) < len(fields):
                double = next(name for name in fields if fields.count(name) > 1)
                raise DataError(f"{path}: column {double[:40]!r} is given twice")
            if found and len(fields) != len(found[0]):
                raise DataError(
                    f"{path}: line {line} has not as many fields as the header: "
                    f"{len(fields)}, not {len(found[0])}"
                )
            if found and separator != ",":
                row = dict(zip(found[0], fields, strict=True))
                _refuse_decimal_comma(
                    path, line, {name: row[name] for name in found[0] if name not in texts}
                )
            found.append(fields)
    except CsvError as error:
        raise DataError(f"{path}: not a readable CSV file: {error}") from error
    return found


class CsvError(ValueError):
    """A text is not CSV.

    Attributes:
        line: number of the line, from 1.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def split_fields(text: str, longest: int) -> Iterator[tuple[int, list[str], str]]:
    """Yield the number, the fields and the separator of each line that is not empty.

    Args:
        text: the content of a CSV file, with commas, semicolons or tabs between fields, or with any
            sign that a first line ``sep=`` names.
        longest: the largest number of characters in a field.

    Raises:
        CsvError: the text is not CSV.
    """
    separator, text, skipped = _separator(text)
    csv.field_size_limit(longest)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for fields in reader:
            if any(fields):
                yield reader.line_num + skipped, fields, separator
    except csv.Error as error:
        raise CsvError(reader.line_num + skipped, str(error)) from error


def _separator(text: str) -> tuple[str, str, int]:
    """Return the separator, the text from its header on, and the number of lines before it."""
    first, _, rest = text.partition("\n")
    declared = re.fullmatch(r'\s*"?sep=(.)"?\s*', first, re.IGNORECASE)
    if declared:
        return declared[1], rest, 1
    counts = {sign: first.count(sign) for sign in ",;\t"}
    return max(counts, key=lambda sign: counts[sign]), text, 0


def _refuse_decimal_comma(path: Path, line: int, row: dict[str, str]) -> None:
    for name, value in row.items():
        if _DECIMAL_COMMA.fullmatch(value):
            raise DataError(
                f"{path}: line {line}: column {name[:40]!r} has {value[:40]!r}, a decimal comma; "
                "save the table with decimal points"
            )
