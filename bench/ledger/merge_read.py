"""Reads untrusted ledgers and CSV files of rows, and checks everything in them.

No content is unpickled, run, opened or used as a file name. A path in a label (of a model or a data
folder on another machine) is treated as text.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.ledger.columns import TEXT_FIELDS
from bench.ledger.file import check_schema, read_only
from bench.ledger.merge_check import CELL_ID, NAME, check_cell, check_row
from bench.ledger.rows_csv import read_rows_csv
from bench.ledger.schema import rows_digest
from bench.ledger.score_files import RecordScore, ScoreFiles
from bench.util.csv_text import LONGEST
from bench.util.errors import DataError
from bench.util.files import sha256_file

MOST_SCORES = 10_000_000
"""Most scores (records x metrics) of one cell; a file with more is refused."""


@dataclass(frozen=True, eq=False)
class ForeignCell:
    """A cell of another ledger that has passed all checks.

    Attributes:
        cell_id: the cell.
        rows: one row for each target.
        scores: scores by record; empty where the source has rows only.
    """

    cell_id: str
    rows: Sequence[Mapping[str, Any]]
    scores: Sequence[RecordScore]


def read_foreign(source: Path) -> list[ForeignCell]:
    """Return the cells of a results directory, a ``ledger.sqlite`` or a ``rows.csv``.

    Raises:
        DataError: the source is missing, unreadable or of another schema, or a row fails a check;
            the message names the file and the cell.
    """
    if source.is_dir():
        files = [
            source / name for name in ("ledger.sqlite", "rows.csv") if (source / name).exists()
        ]
        if not files:
            raise DataError(f"{source}: has neither ledger.sqlite nor rows.csv")
        source = files[0]
    if not source.is_file():
        raise DataError(f"{source}: file is missing")
    rows, scores = _read_csv(source) if source.suffix == ".csv" else _read_ledger(source)
    cells: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        check_row(source, row)
        cells.setdefault(str(row["cell_id"]), []).append(row)
    for cell_id in set(scores) - set(cells):
        raise DataError(f"{source}: scores of cell {cell_id!r}, which has no row")
    for cell_id, of_cell in cells.items():
        check_cell(source, cell_id, of_cell, scores.get(cell_id, []))
    return [
        ForeignCell(cell_id, of_cell, scores.get(cell_id, [])) for cell_id, of_cell in cells.items()
    ]


def _read_csv(source: Path) -> tuple[list[dict[str, Any]], dict[str, list[RecordScore]]]:
    """Return the rows of a CSV file, and no scores.

    A CSV file does not distinguish empty text from a missing value, so missing text is empty. Rows
    without an id keep their gaps, and are refused later.
    """
    texts = dict.fromkeys(TEXT_FIELDS, "")
    return [{**texts, **row} if "cell_id" in row else row for row in read_rows_csv(source)], {}


def _read_ledger(source: Path) -> tuple[list[dict[str, Any]], dict[str, list[RecordScore]]]:
    with read_only(source) as db:
        version = check_schema(source, db)
        cells = dict(
            db.execute(f"SELECT cell_id, {'scores_sha256' if version > 1 else 'NULL'} FROM cells")
        )
        stored = db.execute("SELECT cell_id, content FROM rows ORDER BY rowid").fetchall()
        digests = dict(db.execute("SELECT cell_id, rows_sha256 FROM cells")) if version > 1 else {}
        tables = _score_rows(source, db) if version == 1 else {}
    contents: dict[str, list[str]] = {}
    for cell_id, content in stored:
        if not isinstance(content, str) or len(content) > 2 * LONGEST:
            raise DataError(f"{source}: a row is not JSON text")
        contents.setdefault(str(cell_id), []).append(content)
    for cell_id, digest in digests.items():
        if rows_digest(contents.get(cell_id, [])) != digest:
            raise DataError(f"{source}: cell {cell_id!r}: its rows changed since they were written")
    for cell_id, digest in cells.items():
        if digest is not None:
            tables[cell_id] = _score_file(source, cell_id, digest)
    rows = [_row(source, content) for of_cell in contents.values() for content in of_cell]
    return rows, tables


def _row(source: Path, content: str) -> dict[str, Any]:
    try:
        row = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source}: a row is not valid JSON") from error
    if not isinstance(row, dict):
        raise DataError(f"{source}: a row is not a JSON object")
    return row


def _score_rows(source: Path, db: sqlite3.Connection) -> dict[str, list[RecordScore]]:
    """Return the scores of a ledger of schema 1, which named records by position."""
    scores: dict[str, list[RecordScore]] = {}
    query = (
        "SELECT cell_id, target, metric, record, value FROM scores "
        "ORDER BY cell_id, target, metric, record"
    )
    for cell_id, target, metric, record, value in db.execute(query):
        scores.setdefault(str(cell_id), []).append(
            _score(source, target, metric, str(record), value)
        )
    return scores


def _score_file(source: Path, cell_id: object, digest: object) -> list[RecordScore]:
    """Return a cell's scores from a file with exactly the columns of ``ScoreFiles``."""
    if not (isinstance(cell_id, str) and CELL_ID.fullmatch(cell_id)):
        raise DataError(
            f"{source}: cell {str(cell_id)[:40]!r}: its id is not 16 hexadecimal digits"
        )
    path = ScoreFiles(source.parent).path(cell_id)
    if not path.is_file() or sha256_file(path) != digest:
        raise DataError(f"{path}: missing, or changed since it was written")
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            text = pyarrow.string()
            types = {"target": text, "metric": text, "record": text, "value": pyarrow.float64()}
            if {
                f.name: f.type for f in file.schema_arrow
            } != types or file.metadata.num_rows > MOST_SCORES:
                raise DataError(f"{path}: does not have the columns of a score file")
            table = file.read().to_pydict()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable score file") from error
    return [_score(path, *fields) for fields in zip(*(table[name] for name in types), strict=True)]


def _score(
    source: Path, target: object, metric: object, record: object, value: object
) -> RecordScore:
    if (
        isinstance(target, str)
        and isinstance(metric, str)
        and isinstance(record, str)
        and isinstance(value, int | float)
        and NAME.fullmatch(target)
        and NAME.fullmatch(metric)
        and len(record) <= 1000
        and math.isfinite(value)
    ):
        return RecordScore(target, metric, record, float(value))
    raise DataError(f"{source}: a score is malformed: {str((target, metric, record, value))[:100]}")
