"""The durable store of cells: rows in one SQLite file, per-record scores in files beside it, and a CSV of all rows."""

from __future__ import annotations

import contextlib
import errno
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.ledger.reader import LedgerReader
from bench.ledger.schema import cell_status, prepare, rows_digest
from bench.ledger.score_files import RecordScore
from bench.util.errors import BenchError, DataError
from bench.util.files import disk_errors, write_text
from bench.util.locks import hold_lock
from bench.util.progress import Progress

_WAIT = 60.0  # seconds that a writer waits for another

Row = Mapping[str, str | int | float | None]


class _DamagedError(Exception):
    """SQLite finds the file inconsistent."""


class RowError(BenchError, ValueError):
    """A row breaks the schema: a field is missing or has a value that is no text or number."""


class Ledger(LedgerReader):
    """Cells of one results directory, to be read and written; many processes may do so at once.

    Writing a cell that is already there replaces it: the same spec gives the same row. A cell whose
    rows or scores are not as they were written is left out, as if it had not been run; ``damaged``
    says why.
    """

    FIRST = (
        "schema_version",
        "cell_id",
        "status",
        "reason",
        "victim",
        "protocol",
        "defense",
        "attack",
        "threat_model",
    )

    def __init__(self, results: Path, progress: Progress | None = None) -> None:
        self._set_paths(results)
        with disk_errors(results):
            results.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self._open(progress)
            self._inspect(progress)

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
        """Store one cell's rows and scores, all or nothing.

        Raises:
            RowError: a row breaks the schema.
        """
        for row in rows:
            _check_row(row)
        contents = [json.dumps(dict(row)) for row in rows]
        status = cell_status(str(row["status"]) for row in rows)
        with self._alone(), self._connection() as db:
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
        """Write ``rows.csv`` anew: one header over all rows, so that no column can shift."""
        import pandas

        with hold_lock(self._locks / "csv"):  # so that an older reading never replaces a newer one
            rows = self.rows()
            columns: dict[str, None] = dict.fromkeys(self.FIRST)
            for row in rows:
                columns.update(dict.fromkeys(row))
            columns.pop("spec", None)
            columns["spec"] = None  # long, so last
            text = pandas.DataFrame(rows, columns=list(columns)).to_csv(
                index=False, lineterminator="\n"
            )
            with disk_errors(self.csv.parent):
                write_text(self.csv, text)

    def _alone(self) -> AbstractContextManager[None]:
        """Held while rows and score files may be out of step, and by whoever compares them."""
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
                    raise DataError(f"{self.path}: {_why(error)}") from error
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
            with contextlib.suppress(
                sqlite3.OperationalError
            ):  # locked by others; the next who opens it tries again
                # Not WAL, which earlier versions used: it needs memory shared between all who open
                # the file, so it fails on network file systems, and it cannot be read where nothing
                # can be written.
                db.execute("PRAGMA busy_timeout = 0")
                db.execute("PRAGMA journal_mode = DELETE")
            db.execute(f"PRAGMA busy_timeout = {1000 * _WAIT:.0f}")
            (state,) = db.execute("PRAGMA quick_check").fetchone()
            if state != "ok":
                raise _DamagedError(f"{self.path}: {state}")
            before = prepare(db, self.path, self._files)
        if before == 1 and progress is not None:
            progress.note(
                f"{self.path.name} is of schema 1; brought up to date, the old one is kept beside it"
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
        for extra in ("-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + extra).unlink(missing_ok=True)
        return moved


def _why(error: sqlite3.OperationalError) -> str:
    """An error of the disk or of other processes, in words."""
    if "locked" in str(error):
        return f"locked for {_WAIT:.0f} s by another process, or by a disk without file locks; use another --results DIR"
    return f"cannot be used: {error}; use another --results DIR"


def _check_row(row: Row) -> None:
    missing = [field for field in (*Ledger.FIRST, "target", "n", "created") if field not in row]
    if missing:
        raise RowError(f"row lacks {', '.join(missing)}")
    for name, value in row.items():
        if not (value is None or isinstance(value, str | int | float)):
            raise RowError(f"row field {name!r} must be text or number, got {type(value).__name__}")
