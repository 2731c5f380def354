"""The durable store of cells: rows and per-record scores in one SQLite file, and their CSV."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import BenchError, DataError
from bench.files import disk_errors, write_text
from bench.progress import Progress

SCHEMA_VERSION = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cells (
    cell_id TEXT PRIMARY KEY, capture_id TEXT NOT NULL, spec TEXT NOT NULL, status TEXT NOT NULL, created TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS rows (
    cell_id TEXT NOT NULL REFERENCES cells ON DELETE CASCADE, target TEXT NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (cell_id, target)
);
CREATE TABLE IF NOT EXISTS scores (
    cell_id TEXT NOT NULL REFERENCES cells ON DELETE CASCADE, target TEXT NOT NULL, metric TEXT NOT NULL,
    record INTEGER NOT NULL, value REAL NOT NULL, PRIMARY KEY (cell_id, target, metric, record)
);
"""

Row = Mapping[str, str | int | float | None]


class RowError(BenchError, ValueError):
    """A row breaks the schema: a field is missing or has a value that is no text or number."""


class Ledger:
    """Cells of one results directory.

    Writing a cell that is already there replaces it: the same spec gives the same row.
    """

    FIRST = ("schema_version", "cell_id", "status", "reason", "victim", "protocol", "defense", "attack", "threat_model")

    def __init__(self, results: Path, progress: Progress | None = None) -> None:
        self.path = results / "ledger.sqlite"
        self.csv = results / "rows.csv"
        with disk_errors(results):
            results.mkdir(parents=True, exist_ok=True)
        try:
            self._check()
        except (sqlite3.DatabaseError, DataError) as error:
            if isinstance(error, sqlite3.OperationalError):
                raise DataError(f"{self.path}: cannot be opened: {error}") from error
            moved = self._move_aside()
            if progress is not None:
                progress.note(f"damaged ledger ({error}); kept as {', '.join(moved)}, starting a new one")
            self._check()

    def write(
        self,
        cell_id: str,
        capture_id: str,
        spec: str,
        rows: Sequence[Row],
        scores: Iterable[tuple[str, str, int, float]],
    ) -> None:
        """Store one cell's rows and ``(target, metric, record, value)`` scores, all or nothing.

        Raises:
            RowError: a row breaks the schema.
        """
        for row in rows:
            _check_row(row)
        first = rows[0]
        with self._connection() as db:
            db.execute("DELETE FROM cells WHERE cell_id = ?", (cell_id,))
            db.execute(
                "INSERT INTO cells VALUES (?, ?, ?, ?, ?)",
                (cell_id, capture_id, spec, str(first["status"]), str(first["created"])),
            )
            db.executemany(
                "INSERT INTO rows VALUES (?, ?, ?)",
                [(cell_id, str(row["target"]), json.dumps(dict(row))) for row in rows],
            )
            db.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?)", [(cell_id, *score) for score in scores])
        self.export()

    def rows(self) -> list[dict[str, Any]]:
        """All rows, oldest cell first."""
        with self._connection() as db:
            found = db.execute(
                "SELECT content FROM rows JOIN cells USING (cell_id) ORDER BY created, cell_id, rows.rowid"
            ).fetchall()
        return [json.loads(content) for (content,) in found]

    def scores(self, cell_id: str, target: str, metric: str) -> list[float]:
        """One metric's values by record."""
        with self._connection() as db:
            found = db.execute(
                "SELECT value FROM scores WHERE cell_id = ? AND target = ? AND metric = ? ORDER BY record",
                (cell_id, target, metric),
            ).fetchall()
        return [value for (value,) in found]

    def export(self) -> None:
        """Write ``rows.csv`` anew: one header over all rows, so that no column can shift."""
        rows = self.rows()
        columns: dict[str, None] = dict.fromkeys(self.FIRST)
        for row in rows:
            columns.update(dict.fromkeys(row))
        columns.pop("spec", None)
        columns["spec"] = None  # long, so last
        import pandas

        text = pandas.DataFrame(rows, columns=list(columns)).to_csv(index=False, lineterminator="\n")
        with disk_errors(self.csv.parent):
            write_text(self.csv, text)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, timeout=30)
        try:
            db.execute("PRAGMA foreign_keys = ON")
            with disk_errors(self.path.parent):
                try:
                    with db:
                        yield db
                except sqlite3.OperationalError as error:
                    if "full" in str(error):
                        raise OSError(28, "No space left on device") from error
                    raise
        finally:
            db.close()

    def _check(self) -> None:
        with self._connection() as db:
            db.execute("PRAGMA journal_mode = WAL")
            (state,) = db.execute("PRAGMA quick_check").fetchone()
            if state != "ok":
                raise DataError(f"{self.path}: {state}")
            db.executescript(_TABLES)
            db.execute("INSERT OR IGNORE INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))
            (found,) = db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
        if found != str(SCHEMA_VERSION):
            raise BenchError(
                f"{self.path}: ledger schema {found}, this version writes {SCHEMA_VERSION}; use another --results"
            )

    def _move_aside(self) -> list[str]:
        """Rename the damaged ledger, and the CSV that still shows its rows."""
        number = 1
        while self.path.with_name(f"{self.path.name}.damaged-{number}").exists():
            number += 1
        moved = []
        for file in (self.path, self.csv):
            if file.exists():
                aside = file.with_name(f"{file.name}.damaged-{number}")
                file.rename(aside)
                moved.append(aside.name)
        for extra in ("-wal", "-shm"):
            self.path.with_name(self.path.name + extra).unlink(missing_ok=True)
        return moved


def _check_row(row: Row) -> None:
    missing = [field for field in (*Ledger.FIRST, "target", "n", "created") if field not in row]
    if missing:
        raise RowError(f"row lacks {', '.join(missing)}")
    for name, value in row.items():
        if not (value is None or isinstance(value, str | int | float)):
            raise RowError(f"row field {name!r} must be text or number, got {type(value).__name__}")
