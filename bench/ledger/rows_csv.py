"""Reads ``rows.csv``, also after a spreadsheet saved it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.ledger.columns import TEXT_COLUMNS, parse_field
from bench.util.csv_text import read_table
from bench.util.errors import DataError

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


def read_results_csv(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a ``rows.csv``, with numbers as numbers and None for empty fields.

    Raises:
        DataError: as :func:`read_rows_csv`, or the file has no row or lacks a column that every
            ``rows.csv`` has.
    """
    lines = read_table(path, texts=TEXT_COLUMNS)
    if not lines:
        raise DataError(f"{path}: has no rows")
    if missing := [name for name in _NEEDED if name not in lines[0]]:
        raise DataError(f"{path}: column {missing[0]!r} is missing; is it a rows.csv?")
    return [
        {name: parse_field(name, value) if value else None for name, value in line.items()}
        for line in lines
    ]
