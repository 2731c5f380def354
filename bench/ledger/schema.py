"""Creates the tables of the ledger, and converts those of an older schema."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from bench.ledger.score_files import RecordScore, ScoreFiles
from bench.util.errors import BenchError

SCHEMA_VERSION = 2

_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE cells (cell_id TEXT PRIMARY KEY, capture_id TEXT NOT NULL, spec TEXT NOT NULL,"
    " status TEXT NOT NULL, created TEXT NOT NULL, seconds REAL, trained INTEGER,"
    " rows_sha256 TEXT, scores_sha256 TEXT)",
    "CREATE TABLE rows (cell_id TEXT NOT NULL REFERENCES cells ON DELETE CASCADE,"
    " target TEXT NOT NULL, content TEXT NOT NULL, PRIMARY KEY (cell_id, target))",
)


def rows_digest(contents: Iterable[str]) -> str:
    """Return the hash of a cell's rows as they are stored."""
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


def cell_status(statuses: Iterable[str]) -> str:
    """Return a cell's status from those of its rows: ``ok`` if any is, else the first one."""
    states = list(statuses)
    return "ok" if "ok" in states else states[0]


def prepare(db: sqlite3.Connection, path: Path, scores: ScoreFiles) -> int | None:
    """Create the tables or convert older ones, and return the schema version that they had.

    The caller holds the writers' lock.

    Args:
        db: a connection to the ledger.
        path: its file; a copy of an older schema is kept beside it.
        scores: the files of scores by record.

    Returns:
        The version before the call; None where there were no tables.

    Raises:
        BenchError: this version does not know the schema of the tables.
    """
    meta = db.execute("SELECT name FROM sqlite_master WHERE name = 'meta'").fetchone()
    if meta is None:
        db.execute("BEGIN IMMEDIATE")
        for table in _TABLES:
            db.execute(table)
        db.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))
        db.execute("COMMIT")
        return None
    (text,) = db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    if text == str(SCHEMA_VERSION):
        return SCHEMA_VERSION
    if not (text.isdigit() and int(text) in _STEPS):
        raise BenchError(
            f"{path}: ledger schema {text}, but this version writes {SCHEMA_VERSION}; "
            "use another --results DIR"
        )
    backup = path.with_name(f"{path.name}.schema-{text}")
    if not backup.exists():
        db.execute("VACUUM INTO ?", (str(backup),))
    db.execute("BEGIN IMMEDIATE")
    for version in range(int(text), SCHEMA_VERSION):
        _STEPS[version](db, scores)
    db.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(SCHEMA_VERSION),))
    db.execute("COMMIT")
    return int(text)


def _from_1(db: sqlite3.Connection, files: ScoreFiles) -> None:
    """Move scores from their table to files and add the columns of version 2.

    Version 1 named records by position, and took a cell's status from its first row.
    """
    for column in ("seconds REAL", "trained INTEGER", "rows_sha256 TEXT", "scores_sha256 TEXT"):
        db.execute(f"ALTER TABLE cells ADD COLUMN {column}")
    for (cell_id,) in db.execute("SELECT cell_id FROM cells").fetchall():
        of_cell = (cell_id,)
        rows = [
            r
            for (r,) in db.execute(
                "SELECT content FROM rows WHERE cell_id = ? ORDER BY rowid", of_cell
            )
        ]
        query = "SELECT target, metric, record, value FROM scores WHERE cell_id = ? ORDER BY rowid"
        scores = [
            RecordScore(target, metric, str(i), value)
            for target, metric, i, value in db.execute(query, of_cell)
        ]
        db.execute(
            "UPDATE cells SET status = ?, rows_sha256 = ?, scores_sha256 = ? WHERE cell_id = ?",
            (
                cell_status(json.loads(row)["status"] for row in rows),
                rows_digest(rows),
                files.write(cell_id, scores) if scores else None,
                cell_id,
            ),
        )
    db.execute("DROP TABLE scores")


_STEPS: Mapping[int, Callable[[sqlite3.Connection, ScoreFiles], None]] = {1: _from_1}
