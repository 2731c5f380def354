"""Rows and scores of a results directory as DataFrames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import pandas

from bench.ledger.columns import TEXT_COLUMNS
from bench.ledger.reader import open_ledger
from bench.ledger.rows_csv import read_results_csv
from bench.util.errors import RequestError

LEDGER = "ledger.sqlite"
RESULTS = "results"
"""Key of ``DataFrame.attrs``: the results directory that rows were read from, as text."""

_NEEDED = (
    *("victim", "protocol", "defense", "threat_model", "withheld_from_view"),
    *("attack", "target", "capture_id", "seed", "status"),
)
"""Columns without which a CSV file is no table of rows."""

_TEXTS = TEXT_COLUMNS | {"certificate", "origin"}
_TEXT_ENDINGS = ("_backbone", "_reason", "_hash", "_id")

PathText = str | PathLike[str]


def load_results(source: PathText) -> pandas.DataFrame:
    """Return the rows of a results directory, one for each cell and target.

    Text columns hold text, empty where a row has none; all other columns hold numbers, NaN where a
    row has none. ``docs/reading-a-row.md`` explains the columns.

    Args:
        source: a results directory, its ``ledger.sqlite``, or a ``rows.csv``. Of a directory the
            ledger is read, and ``rows.csv`` where there is no ledger.

    Raises:
        RequestError: the directory has neither.
        DataError: the file is missing or damaged, or is no table of rows.

    Example:
        >>> load_results("results/standard.csv").defense.nunique() > 5  # doctest: +SKIP
        True
    """
    path = Path(source)
    if path.name == LEDGER and path.is_file():
        path = path.parent
    if path.is_dir():
        if (path / LEDGER).exists():
            frame = typed_frame(open_ledger(path).rows())
            frame.attrs[RESULTS] = str(path)
            return frame
        if not (path / "rows.csv").exists():
            raise RequestError(
                f"{path}: neither {LEDGER} nor rows.csv is there; fill it with bench.run"
            )
        path = path / "rows.csv"
    return typed_frame(read_results_csv(path))


def load_scores(results: PathText, cell_id: str) -> pandas.DataFrame:
    """Return the scores of one cell, record by record.

    Args:
        results: a results directory with a ledger.
        cell_id: of the cell, as the column ``cell_id`` of its rows has it; its first letters are
            enough.

    Returns:
        Columns ``target``, ``metric``, ``record`` and ``value``; empty where the attack claimed
        nothing.

    Raises:
        RequestError: there is no ledger, no such cell, or more than one.
        DataError: the file of the scores is missing or damaged.

    Example:
        >>> scores = load_scores("results", "25a0")  # doctest: +SKIP
        >>> scores.groupby(["target", "metric"]).value.mean()  # doctest: +SKIP
    """
    ledger = open_ledger(Path(results))
    return ledger.score_table(ledger.find(cell_id).cell_id)


def _is_text(name: str) -> bool:
    """Return whether a column holds text even where no row has a value."""
    return name in _TEXTS or name.endswith(_TEXT_ENDINGS)


def typed_frame(rows: Iterable[Mapping[str, Any]]) -> pandas.DataFrame:
    """Return rows as a DataFrame whose columns hold either text or numbers."""
    frame = pandas.DataFrame([dict(row) for row in rows])
    for name in frame.columns:
        known = frame[name].dropna()
        if _is_text(str(name)) or any(isinstance(value, str) for value in known):
            frame[name] = frame[name].astype(object).where(frame[name].notna(), "").map(str)
        elif frame[name].dtype == object:
            frame[name] = pandas.to_numeric(frame[name])
    return frame
