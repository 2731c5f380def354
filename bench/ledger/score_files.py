"""Stores the scores by record of each cell in a parquet file beside the ledger."""

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
    """The score of one record by one metric.

    Attributes:
        target: what was claimed, such as ``image``.
        metric: name of the metric.
        record: name of the record in its data set. A seed draws the same records for every defence
            and attack, so the name pairs the scores of two cells.
        value: the score.
    """

    target: str
    metric: str
    record: str
    value: float


class ScoreFiles:
    """The files below ``results/scores``, each written atomically, with its hash in the ledger."""

    COLUMNS = ("target", "metric", "record", "value")

    def __init__(self, results: Path) -> None:
        self.root = results / "scores"

    def path(self, cell_id: str) -> Path:
        """Return the path of a cell's file, whether or not it exists."""
        return self.root / f"{cell_id}.parquet"

    def write(self, cell_id: str, scores: Sequence[RecordScore]) -> str:
        """Write a cell's scores in their order and return the file's sha256.

        Equal scores give equal bytes.
        """
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
        """Return what is wrong with a cell's file; empty if it has the given sha256."""
        path = self.path(cell_id)
        if not path.exists():
            return f"{path}: file is missing"
        return "" if sha256_file(path) == digest else f"{path}: changed since it was written"

    def read(self, cell_id: str, digest: str) -> pandas.DataFrame:
        """Return a cell's scores with the columns ``COLUMNS`` in the order of writing.

        Raises:
            DataError: the file is missing or does not have the given sha256.
        """
        import pandas

        if damage := self.damage(cell_id, digest):
            raise DataError(damage)
        return pandas.read_parquet(self.path(cell_id), columns=list(self.COLUMNS), engine="pyarrow")

    def empty(self) -> pandas.DataFrame:
        """Return a table without scores, for a cell that failed."""
        import pandas

        return pandas.DataFrame({name: [] for name in self.COLUMNS}).astype({"value": "float64"})
