"""Per-record scores: one parquet file a cell, beside the ledger."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.util.errors import DataError
from bench.util.files import disk_errors, sha256_file, write_bytes

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class RecordScore:
    """One number.

    Attributes:
        record: the record's name in its data set. The same seed gives the same records whatever the
            defence and the attack, so two cells are paired by it.
    """

    target: str
    metric: str
    record: str
    value: float


class ScoreFiles:
    """``results/scores``: a file appears whole or not at all, and the ledger knows its hash."""

    COLUMNS = ("target", "metric", "record", "value")

    def __init__(self, results: Path) -> None:
        self.root = results / "scores"

    def path(self, cell_id: str) -> Path:
        """Where a cell's scores are, or would be."""
        return self.root / f"{cell_id}.parquet"

    def write(self, cell_id: str, scores: Sequence[RecordScore]) -> str:
        """Write a cell's scores in their order; the file's sha256. The same scores give the same bytes."""
        import pyarrow
        from pyarrow import parquet

        columns = {name: [getattr(score, name) for score in scores] for name in self.COLUMNS}
        text = pyarrow.string()
        schema = pyarrow.schema(
            {"target": text, "metric": text, "record": text, "value": pyarrow.float64()}
        )
        sink = io.BytesIO()
        parquet.write_table(pyarrow.table(columns, schema=schema), sink, compression="zstd")
        content = sink.getvalue()
        with disk_errors(self.root):
            write_bytes(self.path(cell_id), content)
        return hashlib.sha256(content).hexdigest()

    def damage(self, cell_id: str, digest: str) -> str:
        """What is wrong with a cell's file; empty if it is the one that was written."""
        path = self.path(cell_id)
        if not path.exists():
            return f"{path}: file is missing"
        return "" if sha256_file(path) == digest else f"{path}: changed since it was written"

    def read(self, cell_id: str, digest: str) -> pandas.DataFrame:
        """A cell's scores, columns ``COLUMNS``, in the order written.

        Raises:
            DataError: the file is missing or is not the one that was written.
        """
        import pandas

        if found := self.damage(cell_id, digest):
            raise DataError(found)
        return pandas.read_parquet(self.path(cell_id), columns=list(self.COLUMNS), engine="pyarrow")

    def empty(self) -> pandas.DataFrame:
        """No scores, as of a cell that failed."""
        import pandas

        return pandas.DataFrame({name: [] for name in self.COLUMNS}).astype({"value": "float64"})
