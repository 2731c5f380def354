"""Converts the rows and scores of a baseline to text, and reads the text of its files."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.reports.check.compared_rows import (
    IDENTIFIED,
    ComparedRow,
)
from bench.reports.comparability import SETTING
from bench.util.csv_text import read_lines
from bench.util.errors import DataError

ATTACK_COLUMNS = ("attack", "attack_iterations", "attack_batch_size")
_OTHER_COLUMNS = (
    *("seed", "status", "reason", "certificate", "measure", "score", "floor", "ceiling"),
    *("drawn", "cell_id", "processor", "measures"),
)
COLUMNS = (*SETTING, "defense", *ATTACK_COLUMNS, *_OTHER_COLUMNS)
"""Columns of every baseline; columns ``utility_*`` follow."""


@dataclass(frozen=True)
class Scores:
    """A line of the scores file: the scores by record of a cell and target."""

    cell_id: str
    target: str
    measure: str
    scores: Mapping[str, float]
    identified: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return the line."""
        content: dict[str, Any] = {
            "cell_id": self.cell_id,
            "target": self.target,
            "measure": self.measure,
        }
        content["scores"] = {record: float(f"{value:.7g}") for record, value in self.scores.items()}
        if self.identified:
            content[IDENTIFIED] = sorted(
                record for record, value in self.identified.items() if value > 0.5
            )
        return json.dumps(content)


@dataclass(frozen=True)
class BaselineTable:
    """A baseline as text: the lines of its CSV, the header first, and its scores by record."""

    lines: Sequence[Sequence[str]]
    scores: Sequence[Scores]

    @property
    def header(self) -> Sequence[str]:
        """Return the names of the columns; empty where there is no line."""
        return self.lines[0] if self.lines else ()


def table_from_rows(compared_rows: Iterable[ComparedRow]) -> BaselineTable:
    """Return rows as text in a fixed order."""
    ordered = sorted(
        compared_rows, key=lambda p: (p.key[0].values, p.key[1], str(p.key[2]), p.key[3])
    )
    figures = sorted({name for point in ordered for name in point.utility})
    header = [*COLUMNS, *(f"utility_{name}" for name in figures)]
    scores = [
        Scores(p.cell_id, p.key[0]["target"], p.measure, p.scores, p.identified)
        for p in ordered
        if p.scores
    ]
    return BaselineTable([header, *(_line(point, figures) for point in ordered)], scores)


def _line(point: ComparedRow, figures: Sequence[str]) -> list[str]:
    setting, defense, attack, seed = point.key
    return [
        *setting.values,
        defense,
        *(attack.label, attack.iterations, attack.batch_size),
        *(
            str(seed),
            point.status,
            _plain(point.reason),
            "1" if point.certificate else "",
            point.measure,
        ),
        *(_figure(value) for value in (point.score, point.floor, point.ceiling)),
        *(point.drawn, point.cell_id, point.processor, " ".join(point.measures)),
        *(_figure(point.utility.get(name, math.nan)) for name in figures),
    ]


def _plain(reason: str) -> str:
    """Return a reason on one line, since CSV readers treat line ends differently."""
    return " ".join(reason.split())


def _figure(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.8g}"


def table_text(lines: Iterable[Sequence[str]]) -> str:
    """Return lines as CSV."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def scores_text(scores: Iterable[Scores]) -> str:
    """Return a line for each cell and target, so that a diff shows what changed."""
    return "".join(line.as_json() + "\n" for line in scores)


def baseline_lines(path: Path) -> list[list[str]]:
    """Return the lines of a baseline, the header first.

    Raises:
        DataError: as ``bench.util.csv_text.read_lines``, or the file is empty.
    """
    lines = read_lines(path)
    if not lines:
        raise DataError(
            f"{path}: is empty; bench check SUITE --update --reason TEXT writes it again"
        )
    return lines


def read_scores(path: Path) -> list[Scores]:
    """Return the lines of a scores file; none where there is no file.

    Raises:
        DataError: a line has no scores, or two lines have one cell and target.
    """
    by_target: dict[tuple[str, str], Scores] = {}
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable: {error}") from error
    for i, line in enumerate(lines, start=1):
        try:
            content = json.loads(line)
            scores = {str(record): float(value) for record, value in content["scores"].items()}
            if not (scores and all(map(math.isfinite, scores.values()))):
                raise ValueError("not finite")
            identified = content.get(IDENTIFIED)
            flags = (
                {record: float(record in identified) for record in scores}
                if identified is not None
                else {}
            )
            parsed = Scores(
                str(content["cell_id"]),
                str(content["target"]),
                str(content["measure"]),
                scores,
                flags,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: line {i} has no scores: {error}") from error
        if (parsed.cell_id, parsed.target) in by_target:
            raise DataError(
                f"{path}: line {i} repeats the {parsed.target} of cell {parsed.cell_id}"
            )
        by_target[parsed.cell_id, parsed.target] = parsed
    return list(by_target.values())
