"""Stores cells durably: rows in a SQLite file, scores in files beside it, and a CSV of all rows."""

from __future__ import annotations

import contextlib
import errno
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.ledger.columns import FIRST_COLUMNS
from bench.ledger.reader import LedgerReader
from bench.ledger.schema import cell_status, prepare, rows_digest
from bench.ledger.score_files import RecordScore
from bench.util.errors import BenchError, DataError
from bench.util.files import disk_errors, write_text
from bench.util.locks import hold_lock
from bench.util.progress import Progress

_WAIT = 60.0  # seconds that a writer waits for other writers

Row = Mapping[str, str | int | float | None]


class _DamagedError(Exception):
    """Raised where SQLite reports an inconsistent file."""


class RowError(BenchError, ValueError):
    """A row breaks the schema: a field is missing, or its value is neither text nor number."""


class Ledger(LedgerReader):
    """Reads and writes the cells of one results directory; many processes may do so at once.

    Writing a cell again replaces it: one spec gives one set of rows. A cell whose rows or scores
    changed after they were written is skipped, as if it had not been run; ``damaged`` holds the
    reason.

    Args:
        results: the directory; created where it does not exist.
        progress: receives messages about damaged cells and old schemas.
    """

    def __init__(self, results: Path, progress: Progress | None = None) -> None:
        self._set_paths(results)
        with disk_errors(results):
            results.mkdir(parents=True, exist_ok=True)
        with self._writer_lock():
            self._open(progress)
            self._find_damage(progress)

    def write(
        self,
        cell_id: str,
        capture_id: str,
        spec: str,
        rows: Sequence[Row],
        scores: Sequence[RecordScore],
        *,
        seconds: float | None = None,
        trained: bool = False,
    ) -> None:
        """Store the rows and scores of one cell, all of them or none.

        Args:
            cell_id: the cell.
            capture_id: the capture that was attacked.
            spec: canonical JSON of the cell's spec.
            rows: one row for each target.
            scores: scores by record; empty where there are none.
            seconds: wall time of the cell; None where it is unknown.
            trained: whether that time includes the training of the capture.

        Raises:
            RowError: a row breaks the schema.
        """
        for row in rows:
            _check_row(row)
        contents = [json.dumps(dict(row)) for row in rows]
        status = cell_status(str(row["status"]) for row in rows)
        with self._writer_lock(), self._connection() as db:
            digest = self._files.write(cell_id, scores) if scores else None
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM cells WHERE cell_id = ?", (cell_id,))
            db.execute(
                "INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(cell_id, capture_id, spec, status, str(rows[0]["created"])),
                    *(seconds, int(trained), rows_digest(contents), digest),
                ),
            )
            db.executemany(
                "INSERT INTO rows VALUES (?, ?, ?)",
                [
                    (cell_id, str(row["target"]), content)
                    for row, content in zip(rows, contents, strict=True)
                ],
            )
            db.execute("COMMIT")
        self.damaged.pop(cell_id, None)
        self.export()

    def export(self) -> None:
        """Write ``rows.csv`` again with one header over all rows, so that no column can shift."""
        import pandas

        with hold_lock(self._locks / "csv"):  # so that no process replaces newer rows by older ones
            rows = self.rows()
            columns: dict[str, None] = dict.fromkeys(FIRST_COLUMNS)
            for row in rows:
                columns.update(dict.fromkeys(row))
            columns.pop("spec", None)
            columns["spec"] = None  # long, so last
            text = pandas.DataFrame(rows, columns=list(columns)).to_csv(
                index=False, lineterminator="\n"
            )
            with disk_errors(self.csv.parent):
                write_text(self.csv, text)

    def _writer_lock(self) -> AbstractContextManager[None]:
        """Return the lock that is held while rows and score files may disagree."""
        return hold_lock(self._locks / "ledger")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
        try:
            db.execute("PRAGMA foreign_keys = ON")
            with disk_errors(self.path.parent):
                try:
                    yield db
                except sqlite3.OperationalError as error:
                    if "full" in str(error):
                        raise OSError(errno.ENOSPC, "No space left on device") from error
                    raise DataError(f"{self.path}: {_explain(error)}") from error
        finally:
            db.close()  # rolls back what was not committed

    def _open(self, progress: Progress | None) -> None:
        try:
            self._prepare(progress)
        except (sqlite3.DatabaseError, UnicodeError, _DamagedError) as error:
            moved = self._move_aside()
            if progress is not None:
                progress.note(
                    f"damaged ledger ({error}); kept as {', '.join(moved)}, starting a new one"
                )
            self._prepare(progress)

    def _prepare(self, progress: Progress | None) -> None:
        with self._connection() as db:
            # A lock of another process is no error here: the next process to open it tries again.
            with contextlib.suppress(sqlite3.OperationalError):
                # WAL mode, which earlier versions used, needs memory shared between all processes
                # that open the file, so it fails on network file systems and read-only disks.
                db.execute("PRAGMA busy_timeout = 0")
                db.execute("PRAGMA journal_mode = DELETE")
            db.execute(f"PRAGMA busy_timeout = {1000 * _WAIT:.0f}")
            (state,) = db.execute("PRAGMA quick_check").fetchone()
            if state != "ok":
                raise _DamagedError(f"{self.path}: {state}")
            before = prepare(db, self.path, self._files)
        if before == 1 and progress is not None:
            progress.note(
                f"{self.path.name} had schema 1 and was upgraded; a copy of it is kept beside it"
            )

    def _move_aside(self) -> list[str]:
        """Rename the damaged ledger and the CSV with its rows; return the new names."""
        number = 1
        while self.path.with_name(f"{self.path.name}.damaged-{number}").exists():
            number += 1
        names = []
        for file in (self.path, self.csv):
            if file.exists():
                target = file.with_name(f"{file.name}.damaged-{number}")
                file.rename(target)
                names.append(target.name)
        for extra in ("-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + extra).unlink(missing_ok=True)
        return names


def _explain(error: sqlite3.OperationalError) -> str:
    """Return a sentence about an error of the disk or of other processes."""
    if "locked" in str(error):
        return (
            f"locked for {_WAIT:.0f} s by another process, or on a disk without file locks; "
            "use another --results DIR"
        )
    return f"cannot be used: {error}; use another --results DIR"


def _check_row(row: Row) -> None:
    missing = [field for field in (*FIRST_COLUMNS, "target", "n", "created") if field not in row]
    if missing:
        raise RowError(f"row lacks {', '.join(missing)}")
    for name, value in row.items():
        if not (value is None or isinstance(value, str | int | float)):
            raise RowError(f"row field {name!r} must be text or number, got {type(value).__name__}")
