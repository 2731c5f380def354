"""The result of a cell, in a form that can pass from one process to another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.ledger.ledger import Ledger
from bench.ledger.schema import cell_status
from bench.ledger.score_files import RecordScore
from bench.scoring.rows import Value
from bench.settings.cell import CellSpec


@dataclass(frozen=True)
class CellResult:
    """A cell's rows and everything that is kept with them.

    Attributes:
        rows: one row a target.
        scores: the attack's score of each record.
        utility: quality of the trained model, by name.
        reused: whether the capture existed already.
        picture: the file of the cell's picture, where there is one.
        seconds: wall time, training included where the capture did not exist.
        refused: the request turned out to be wrong for this cell; it was not run.
    """

    rows: list[dict[str, Value]]
    scores: tuple[RecordScore, ...] = ()
    utility: Mapping[str, float] = field(default_factory=dict)
    reused: bool = False
    picture: Path | None = None
    seconds: float = 0.0
    refused: bool = False

    @property
    def status(self) -> str:
        """The cell's status: that of its rows, ``ok`` if any row is."""
        return cell_status(str(row["status"]) for row in self.rows)

    def encode(self) -> str:
        """Return the result as one line of JSON; floats keep every bit."""
        picture = None if self.picture is None else str(self.picture)
        return json.dumps({**asdict(self), "picture": picture})

    @staticmethod
    def decode(text: str) -> CellResult:
        """Return the result of a line that ``encode`` made."""
        fields = json.loads(text)
        fields["scores"] = tuple(RecordScore(**score) for score in fields["scores"])
        fields["picture"] = None if fields["picture"] is None else Path(fields["picture"])
        return CellResult(**fields)

    def store(self, ledger: Ledger, cell: CellSpec) -> None:
        """Write the result of ``cell`` into ``ledger``."""
        ledger.write(
            cell.cell_id,
            cell.capture.content_hash()[:16],
            cell.canonical(),
            self.rows,
            self.scores,
            seconds=self.seconds,
            trained=not self.reused,
        )
