"""Reads ``rows.csv``, also after a spreadsheet has saved it, as a typed table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.ledger.columns import TEXT_COLUMNS, parse_field
from bench.util.csv_text import read_table
from bench.util.errors import DataError

if TYPE_CHECKING:
    import pandas

_NEEDED = (
    *("victim", "protocol", "defense", "threat_model", "withheld_from_view"),
    *("attack", "target", "capture_id", "seed", "status"),
)


def read_rows_csv(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a CSV file, with numbers as numbers and without empty fields.

    Raises:
        DataError: the file is missing, not UTF-8 text or not CSV, or a line has more or fewer
            fields than the header.
    """
    return [
        {name: parse_field(name, value) for name, value in line.items() if value != ""}
        for line in read_table(path, texts=TEXT_COLUMNS)
    ]


def read_rows_frame(path: Path) -> pandas.DataFrame:
    """Return the rows of a CSV file as a table with one line for each row.

    Numbers are numbers, and empty fields are missing values; an empty ``withheld_from_view`` stays
    empty text, since it means that nothing is withheld.

    Raises:
        DataError: as :func:`read_rows_csv`, or the file has no row or lacks a column that every
            ``rows.csv`` has.
    """
    import pandas

    lines = read_table(path, texts=TEXT_COLUMNS)
    if not lines:
        raise DataError(f"{path}: has no rows")
    missing = [name for name in _NEEDED if name not in lines[0]]
    if missing:
        raise DataError(f"{path}: column {missing[0]!r} is missing; is it a rows.csv?")
    rows = [
        {name: parse_field(name, value) if value else None for name, value in line.items()}
        for line in lines
    ]
    return pandas.DataFrame(rows).fillna({"withheld_from_view": ""})
