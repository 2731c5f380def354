"""Reads the ledger of a results directory and leaves every file as it is, on a read-only disk too."""

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
from bench.util.locks import locked
from bench.util.progress import Progress

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class CellEntry:
    """What the ledger knows of a cell apart from its rows.

    Attributes:
        status: ``ok`` if any of its rows is, else that of its first.
        seconds: wall time of the whole cell; None where it is not known.
        trained: whether that includes the training of its capture.
    """

    cell_id: str
    capture_id: str
    status: str
    spec: str
    seconds: float | None
    trained: bool


class LedgerReader:
    """Cells of one results directory.

    A cell whose rows or scores are not as they were written is left out, as if it had not been run;
    ``damaged`` says why.

    Raises:
        RequestError: the directory has no ledger.
        DataError: the ledger is damaged or of another version.
    """

    def __init__(self, results: Path, progress: Progress | None = None) -> None:
        self._set_paths(results)
        if not self.path.exists():
            raise RequestError(
                f"{results}: no ledger.sqlite there; fill it with bench run or bench merge"
            )
        with self._connection() as db:
            version = check_schema(self.path, db)
        if version < SCHEMA_VERSION:
            raise DataError(
                f"{self.path}: ledger schema {version}; bench merge {results} --into DIR makes one of this version"
            )
        with self._quiet():
            self._inspect(progress)

    def _set_paths(self, results: Path) -> None:
        self.path = results / "ledger.sqlite"
        self.csv = results / "rows.csv"
        self.damaged: dict[str, str] = {}
        self._files = ScoreFiles(results)
        self._locks = results / "locks"

    def rows(self) -> list[dict[str, Any]]:
        """All rows, oldest cell first."""
        with self._connection() as db:
            found = db.execute(
                "SELECT cell_id, content FROM rows JOIN cells USING (cell_id) ORDER BY created, cell_id, rows.rowid"
            ).fetchall()
        return [json.loads(content) for cell_id, content in found if cell_id not in self.damaged]

    def entries(self) -> dict[str, CellEntry]:
        """Every cell by its id."""
        with self._connection() as db:
            found = db.execute(
                "SELECT cell_id, capture_id, status, spec, seconds, trained FROM cells"
            ).fetchall()
        return {
            cell_id: CellEntry(cell_id, *rest)
            for cell_id, *rest in found
            if cell_id not in self.damaged
        }

    def find(self, prefix: str) -> CellEntry:
        """The one cell whose id starts with ``prefix``.

        Raises:
            RequestError: there is none, or several.
        """
        found = [entry for entry in self.entries().values() if entry.cell_id.startswith(prefix)]
        if len(found) != 1:
            raise RequestError(
                f"{self.path}: {len(found) or 'no'} cells have an id that starts with {prefix!r}"
            )
        return found[0]

    def scores(self, cell_id: str, target: str, metric: str) -> list[float]:
        """One metric's values by record, in the order of ``record_ids``; none where it was not measured."""
        table = self.score_table(cell_id)
        chosen = table[(table["target"] == target) & (table["metric"] == metric)]
        return [float(value) for value in chosen["value"]]

    def record_ids(self, cell_id: str) -> list[str]:
        """The scored records, in order; by position where the ledger was started by the first version."""
        return list(dict.fromkeys(str(record) for record in self.score_table(cell_id)["record"]))

    def score_table(self, cell_id: str) -> pandas.DataFrame:
        """All scores of a cell: columns ``target``, ``metric``, ``record``, ``value``. Empty where
        it has none.

        Raises:
            DataError: the file is missing or is not the one that was written.
        """
        with self._connection() as db:
            found = db.execute(
                "SELECT scores_sha256 FROM cells WHERE cell_id = ?", (cell_id,)
            ).fetchone()
        if found is None or found[0] is None:
            return self._files.empty()
        return self._files.read(cell_id, found[0])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with read_only(self.path) as db:
            yield db

    def _quiet(self) -> ExitStack:
        """Hold the writers' lock where it can be held, so that rows and scores are in step."""
        stack = ExitStack()
        if self._locks.is_dir():
            with suppress(BenchError, OSError):  # on a read-only disk nobody writes here
                stack.enter_context(locked(self._locks / "ledger"))
        return stack

    def _inspect(self, progress: Progress | None) -> None:
        """Compare every cell with the hashes that were written with it."""
        with self._connection() as db:
            cells = db.execute("SELECT cell_id, rows_sha256, scores_sha256 FROM cells").fetchall()
            contents: dict[str, list[str]] = {}
            for cell_id, content in db.execute("SELECT cell_id, content FROM rows ORDER BY rowid"):
                contents.setdefault(cell_id, []).append(content)
        for cell_id, rows, scores in cells:
            found = "" if scores is None else self._files.damage(cell_id, scores)
            if rows_digest(contents.get(cell_id, [])) != rows:
                found = f"{self.path}: its rows changed since they were written"
            if found:
                self.damaged[cell_id] = found
                if progress is not None:
                    progress.note(f"cell {cell_id} is damaged ({found}); run it again")


def open_ledger(results: Path) -> LedgerReader:
    """The ledger of a results directory that has one.

    Raises:
        RequestError: it has none.
        DataError: it is damaged or of another version.
    """
    return LedgerReader(results)
