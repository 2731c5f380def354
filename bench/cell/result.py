"""What comes of a cell, in a form that can cross from one process to another."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.ledger.schema import cell_status
from bench.ledger.score_files import RecordScore
from bench.scoring.rows import Value


@dataclass(frozen=True)
class CellResult:
    """A cell's rows and everything that is kept with them.

    Attributes:
        scores: per record, of what the attack claimed.
        reused: whether the capture was there already.
        picture: the file, where there is something to show.
        seconds: wall time, training included where the capture was not there.
        refused: the request turned out to be wrong for this cell; it was not run.
    """

    rows: list[dict[str, Value]]
    scores: tuple[RecordScore, ...] = ()
    utility: Mapping[str, float] = dataclasses.field(default_factory=dict)
    reused: bool = False
    picture: Path | None = None
    seconds: float = 0.0
    refused: bool = False

    @property
    def status(self) -> str:
        """The cell's status: that of its rows, ``ok`` if any is."""
        return cell_status(str(row["status"]) for row in self.rows)

    def encode(self) -> str:
        """As one line of JSON; floats keep every bit."""
        fields = {
            **dataclasses.asdict(self),
            "picture": None if self.picture is None else str(self.picture),
        }
        return json.dumps(fields)

    @staticmethod
    def decode(text: str) -> CellResult:
        """The inverse of ``encode``."""
        fields = json.loads(text)
        fields["scores"] = tuple(RecordScore(**score) for score in fields["scores"])
        fields["picture"] = None if fields["picture"] is None else Path(fields["picture"])
        return CellResult(**fields)
