"""The durable store of cells: rows in one SQLite file, per-record scores in files beside it, and a CSV of all rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, DataError, RequestError
from bench.files import disk_errors, write_text
from bench.ledger_schema import cell_status, prepare, rows_digest
from bench.locks import locked
from bench.progress import Progress
from bench.score_files import RecordScore, ScoreFiles

if TYPE_CHECKING:
    import pandas

_WAIT = 60.0  # seconds that a writer waits for another

Row = Mapping[str, str | int | float | None]


class RowError(BenchError, ValueError):
    """A row breaks the schema: a field is missing or has a value that is no text or number."""


@dataclass(frozen=True)
class Entry:
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


class Ledger:
    """Cells of one results directory; many processes may read and write at once.

    Writing a cell that is already there replaces it: the same spec gives the same row. A cell whose rows or
    scores are not as they were written is left out, as if it had not been run; ``damaged`` says why.
    """

    FIRST = ("schema_version", "cell_id", "status", "reason", "victim", "protocol", "defense", "attack", "threat_model")

    def __init__(self, results: Path, progress: Progress | None = None) -> None:
        self.path = results / "ledger.sqlite"
        self.csv = results / "rows.csv"
        self.damaged: dict[str, str] = {}
        self._files = ScoreFiles(results)
        self._locks = results / "locks"
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
                [(cell_id, str(row["target"]), content) for row, content in zip(rows, contents, strict=True)],
            )
            db.execute("COMMIT")
        self.damaged.pop(cell_id, None)
        self.export()

    def rows(self) -> list[dict[str, Any]]:
        """All rows, oldest cell first."""
        with self._connection() as db:
            found = db.execute(
                "SELECT cell_id, content FROM rows JOIN cells USING (cell_id) ORDER BY created, cell_id, rows.rowid"
            ).fetchall()
        return [json.loads(content) for cell_id, content in found if cell_id not in self.damaged]

    def entries(self) -> dict[str, Entry]:
        """Every cell by its id."""
        with self._connection() as db:
            found = db.execute("SELECT cell_id, capture_id, status, spec, seconds, trained FROM cells").fetchall()
        return {cell_id: Entry(cell_id, *rest) for cell_id, *rest in found if cell_id not in self.damaged}

    def find(self, prefix: str) -> Entry:
        """The one cell whose id starts with ``prefix``.

        Raises:
            RequestError: there is none, or several.
        """
        found = [entry for entry in self.entries().values() if entry.cell_id.startswith(prefix)]
        if len(found) != 1:
            raise RequestError(f"{self.path}: {len(found) or 'no'} cells have an id that starts with {prefix!r}")
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
        """All scores of a cell: columns ``target``, ``metric``, ``record``, ``value``. Empty where it has none.

        Raises:
            DataError: the file is missing or is not the one that was written.
        """
        with self._connection() as db:
            found = db.execute("SELECT scores_sha256 FROM cells WHERE cell_id = ?", (cell_id,)).fetchone()
        if found is None or found[0] is None:
            return self._files.empty()
        return self._files.read(cell_id, found[0])

    def export(self) -> None:
        """Write ``rows.csv`` anew: one header over all rows, so that no column can shift."""
        import pandas

        with locked(self._locks / "csv"):  # so that an older reading never replaces a newer one
            rows = self.rows()
            columns: dict[str, None] = dict.fromkeys(self.FIRST)
            for row in rows:
                columns.update(dict.fromkeys(row))
            columns.pop("spec", None)
            columns["spec"] = None  # long, so last
            text = pandas.DataFrame(rows, columns=list(columns)).to_csv(index=False, lineterminator="\n")
            with disk_errors(self.csv.parent):
                write_text(self.csv, text)

    def _alone(self) -> AbstractContextManager[None]:
        """Held while rows and score files may be out of step, and by whoever compares them."""
        return locked(self._locks / "ledger")

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
                        raise OSError(28, "No space left on device") from error
                    raise
        finally:
            db.close()  # rolls back what was not committed

    def _open(self, progress: Progress | None) -> None:
        try:
            self._prepare(progress)
        except (sqlite3.DatabaseError, DataError) as error:
            if isinstance(error, sqlite3.OperationalError):
                raise DataError(f"{self.path}: cannot be opened: {error}") from error
            moved = self._move_aside()
            if progress is not None:
                progress.note(f"damaged ledger ({error}); kept as {', '.join(moved)}, starting a new one")
            self._prepare(progress)

    def _prepare(self, progress: Progress | None) -> None:
        with self._connection() as db:
            db.execute("PRAGMA journal_mode = WAL")
            (state,) = db.execute("PRAGMA quick_check").fetchone()
            if state != "ok":
                raise DataError(f"{self.path}: {state}")
            before = prepare(db, self.path, self._files)
        if before == 1 and progress is not None:
            progress.note(f"{self.path.name} is of schema 1; brought up to date, the old one is kept beside it")

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
