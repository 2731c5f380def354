"""Reads the ledger of a results directory without changing any file, also on read-only disks."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.ledger.file import check_schema, read_only
from bench.ledger.schema import SCHEMA_VERSION, rows_digest
from bench.ledger.score_files import ScoreFiles
from bench.util.errors import BenchError, DataError, RequestError
from bench.util.locks import hold_lock
from bench.util.progress import Progress

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class CellEntry:
    """What the ledger stores about a cell besides its rows.

    Attributes:
        cell_id: the cell.
        capture_id: the capture that was attacked.
        status: ``ok`` if any row of the cell is ``ok``, else the status of its first row.
        spec: canonical JSON of the cell's spec.
        seconds: wall time of the whole cell; None where it is unknown.
        trained: whether that time includes the training of its capture.
    """

    cell_id: str
    capture_id: str
    status: str
    spec: str
    seconds: float | None
    trained: bool


class LedgerReader:
    """Reads the cells of one results directory.

    A cell whose rows or scores changed after they were written is skipped, as if it had not been
    run; ``damaged`` holds the reason.

    Args:
        results: the directory.
        progress: receives messages about damaged cells.

    Raises:
        RequestError: the directory has no ledger.
        DataError: the ledger is damaged or of another version.
    """

    def __init__(self, results: Path, progress: Progress | None = None) -> None:
        self._set_paths(results)
        if not self.path.exists():
            raise RequestError(
                f"{results}: has no ledger.sqlite; bench run and bench merge write one"
            )
        with self._connection() as db:
            version = check_schema(self.path, db)
        if version < SCHEMA_VERSION:
            raise DataError(
                f"{self.path}: has the old ledger schema {version}; "
                f"bench merge {results} --into DIR converts it"
            )
        with self._reader_lock():
            self._find_damage(progress)

    def _set_paths(self, results: Path) -> None:
        self.path = results / "ledger.sqlite"
        self.csv = results / "rows.csv"
        self.damaged: dict[str, str] = {}
        self._files = ScoreFiles(results)
        self._locks = results / "locks"

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows, those of the oldest cell first."""
        with self._connection() as db:
            stored = db.execute(
                "SELECT cell_id, content FROM rows JOIN cells USING (cell_id) "
                "ORDER BY created, cell_id, rows.rowid"
            ).fetchall()
        return [json.loads(content) for cell_id, content in stored if cell_id not in self.damaged]

    def entries(self) -> dict[str, CellEntry]:
        """Return every cell by its id."""
        with self._connection() as db:
            stored = db.execute(
                "SELECT cell_id, capture_id, status, spec, seconds, trained FROM cells"
            ).fetchall()
        return {
            cell_id: CellEntry(cell_id, *fields)
            for cell_id, *fields in stored
            if cell_id not in self.damaged
        }

    def find(self, prefix: str) -> CellEntry:
        """Return the one cell whose id starts with ``prefix``.

        Raises:
            RequestError: no cell or several cells have such an id.
        """
        matches = [entry for entry in self.entries().values() if entry.cell_id.startswith(prefix)]
        if len(matches) != 1:
            raise RequestError(
                f"{self.path}: {len(matches) or 'no'} cells have an id that starts with {prefix!r}"
            )
        return matches[0]

    def scores(self, cell_id: str, target: str, metric: str) -> list[float]:
        """Return the values of one metric in the order of ``record_ids``; empty if not measured."""
        table = self.score_table(cell_id)
        chosen = table[(table["target"] == target) & (table["metric"] == metric)]
        return [float(value) for value in chosen["value"]]

    def record_ids(self, cell_id: str) -> list[str]:
        """Return the names of the scored records, in order; positions in ledgers of schema 1."""
        return list(dict.fromkeys(str(record) for record in self.score_table(cell_id)["record"]))

    def score_table(self, cell_id: str) -> pandas.DataFrame:
        """Return all scores of a cell; the table is empty where it has none.

        The columns are ``target``, ``metric``, ``record`` and ``value``.

        Raises:
            DataError: the file is missing or changed after it was written.
        """
        with self._connection() as db:
            stored = db.execute(
                "SELECT scores_sha256 FROM cells WHERE cell_id = ?", (cell_id,)
            ).fetchone()
        if stored is None or stored[0] is None:
            return self._files.empty()
        return self._files.read(cell_id, stored[0])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with read_only(self.path) as db:
            yield db

    def _reader_lock(self) -> ExitStack:
        """Hold the writers' lock where possible, so that rows and scores agree."""
        stack = ExitStack()
        if self._locks.is_dir():
            with suppress(BenchError, OSError):  # on a read-only disk no process writes
                stack.enter_context(hold_lock(self._locks / "ledger"))
        return stack

    def _find_damage(self, progress: Progress | None) -> None:
        """Compare every cell with its stored hashes and fill ``damaged``."""
        with self._connection() as db:
            cells = db.execute("SELECT cell_id, rows_sha256, scores_sha256 FROM cells").fetchall()
            contents: dict[str, list[str]] = {}
            for cell_id, content in db.execute("SELECT cell_id, content FROM rows ORDER BY rowid"):
                contents.setdefault(cell_id, []).append(content)
        for cell_id, rows_sha256, scores_sha256 in cells:
            damage = "" if scores_sha256 is None else self._files.damage(cell_id, scores_sha256)
            if rows_digest(contents.get(cell_id, [])) != rows_sha256:
                damage = f"{self.path}: its rows changed since they were written"
            if damage:
                self.damaged[cell_id] = damage
                if progress is not None:
                    progress.note(f"cell {cell_id} is damaged ({damage}); run it again")


def open_ledger(results: Path) -> LedgerReader:
    """Return a reader of the ledger of a results directory.

    Raises:
        RequestError: the directory has no ledger.
        DataError: the ledger is damaged or of another version.
    """
    return LedgerReader(results)
