"""The rows and scores of a baseline as text, and back: every field is checked, and a wrong one is named by its row."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.ledger.merge_check import CELL_ID, STATES
from bench.reports.check.compared_rows import (
    IDENTIFIED,
    ComparedRow,
    Key,
    agrees,
    is_figure,
    trained_by,
)
from bench.reports.comparability import SETTING, AttackBudget, ComparisonSetting
from bench.util.csv_text import read_lines
from bench.util.errors import DataError
from bench.util.stats import normalized

_ATTACK = ("attack", "attack_iterations", "attack_batch_size")
_OWN = (
    *("seed", "status", "reason", "certificate", "measure", "score", "floor", "ceiling"),
    *("drawn", "cell_id", "processor", "measures"),
)
COLUMNS = (*SETTING, "defense", *_ATTACK, *_OWN)
"""What every baseline has; columns ``utility_*`` follow."""

_NEEDED = ("victim", "dataset", "target", "defense", "attack", "split_hash")
_MEASURE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Scores:
    """One line of the scores file: a cell's scores of one target, by record."""

    cell_id: str
    target: str
    measure: str
    scores: Mapping[str, float]
    identified: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> str:
        """The line."""
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
    """A baseline as text: the lines of its CSV with the header first, and the scores beside it."""

    lines: Sequence[Sequence[str]]
    scores: Sequence[Scores]

    @property
    def header(self) -> Sequence[str]:
        """The names of the columns; empty where there is not even a header."""
        return self.lines[0] if self.lines else ()


def table_from_rows(compared_rows: Iterable[ComparedRow]) -> BaselineTable:
    """Points as text, in an order of their own."""
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
    """A reason on one line, as CSV readers agree on."""
    return " ".join(reason.split())


def _figure(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.8g}"


def table_text(lines: Iterable[Sequence[str]]) -> str:
    """Lines as CSV."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def scores_text(scores: Iterable[Scores]) -> str:
    """One cell and target a line, so that a diff shows what changed."""
    return "".join(one.as_json() + "\n" for one in scores)


def baseline_lines(path: Path) -> list[list[str]]:
    """The lines of a baseline, the header first.

    Raises:
        DataError: as ``bench.util.csv_text.read_lines``, or the file is empty.
    """
    lines = read_lines(path)
    if not lines:
        raise DataError(
            f"{path}: is empty; make it anew with bench check SUITE --update --reason TEXT"
        )
    return lines


def read_scores(path: Path) -> list[Scores]:
    """The lines of a scores file; none where there is no file.

    Raises:
        DataError: a line holds no scores, or two are of one cell and target.
    """
    found: dict[tuple[str, str], Scores] = {}
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
            passed = (
                {record: float(record in identified) for record in scores}
                if identified is not None
                else {}
            )
            one = Scores(
                str(content["cell_id"]),
                str(content["target"]),
                str(content["measure"]),
                scores,
                passed,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: line {i} holds no scores: {error}") from error
        if (one.cell_id, one.target) in found:
            raise DataError(f"{path}: line {i} repeats the {one.target} of cell {one.cell_id}")
        found[one.cell_id, one.target] = one
    return list(found.values())


def parse_table(path: Path, scores_path: Path, table: BaselineTable) -> dict[Key, ComparedRow]:
    """The points of a table.

    Raises:
        DataError: a column is missing or unknown, a field is impossible, two rows are of one thing,
            or the scores contradict the rows; the message names the row.
    """
    header = list(table.header)
    strange = [name for name in header if name not in COLUMNS and not is_figure(name)]
    missing = [name for name in COLUMNS if name not in header]
    twice = [name for name in header if header.count(name) > 1]
    for names, words in (
        (missing, "lacks the column"),
        (twice, "repeats the column"),
        (strange, "does not know"),
    ):
        if names:
            raise DataError(f"{path}: {words} {', '.join(dict.fromkeys(names))}")
    scores = {(one.cell_id, one.target): one for one in table.scores}
    found: dict[Key, ComparedRow] = {}
    for number, line in enumerate(table.lines[1:], start=1):
        fields = dict(zip(header, line, strict=True))
        one = scores.pop((fields["cell_id"], fields["target"]), None)
        try:
            point = _point(fields, one)
        except ValueError as error:
            raise DataError(f"{path}: row {number}: {error}") from error
        if point.key in found:
            setting, defense, attack, seed = point.key
            raise DataError(
                f"{path}: row {number}: there are two rows of {defense}, {attack.label}, seed {seed}, {setting.title()}"
            )
        found[point.key] = point
    if scores:
        cell_id, target = next(iter(scores))
        raise DataError(
            f"{scores_path}: has scores of the {target} of cell {cell_id}, which has no row in {path.name}"
        )
    _check_utility(path, found)
    return found


def _point(fields: Mapping[str, str], scores: Scores | None) -> ComparedRow:
    """One row as a point.

    Raises:
        ValueError: a field is impossible; the message names it.
    """
    for name in _NEEDED:
        if not fields[name].strip():
            raise ValueError(f"{name} is empty")
    if not re.fullmatch(r"[0-9]{1,18}", fields["seed"]):
        raise ValueError(f"seed {fields['seed'][:40]!r} is no whole number from 0 up")
    if fields["status"] not in STATES:
        raise ValueError(f"status {fields['status'][:40]!r} is unknown")
    if fields["certificate"] not in ("", "1"):
        raise ValueError("certificate must be 1 or empty")
    if not CELL_ID.fullmatch(fields["cell_id"]):
        raise ValueError(f"cell_id {fields['cell_id'][:40]!r} is not 16 hexadecimal digits")
    names = tuple(fields["measures"].split())
    if not all(map(_MEASURE.fullmatch, names)):
        raise ValueError("measures are not names")
    measure = fields["measure"]
    score, floor, ceiling = _measured(fields, names)
    _number(fields["drawn"], "drawn")
    by_record = {} if scores is None else scores.scores
    if scores is not None and scores.measure != measure:
        raise ValueError(
            f"its scores by record are of {scores.measure!r}, the row is of {measure!r}"
        )
    if not agrees(score, by_record):
        raise ValueError(f"score {fields['score']} contradicts the scores by record beside it")
    return ComparedRow(
        key=(
            ComparisonSetting(tuple(fields[name] for name in SETTING)),
            fields["defense"],
            AttackBudget(*(fields[name] for name in _ATTACK)),
            int(fields["seed"]),
        ),
        status=fields["status"],
        reason=fields["reason"],
        certificate=fields["certificate"] == "1",
        measure=measure,
        score=score,
        floor=floor,
        ceiling=ceiling,
        drawn=fields["drawn"],
        cell_id=fields["cell_id"],
        processor=fields["processor"],
        measures=names,
        scores=by_record,
        identified={} if scores is None else scores.identified,
        utility={
            name.removeprefix("utility_"): value
            for name, text in fields.items()
            if is_figure(name) and not math.isnan(value := _number(text, name))
        },
    )


def _measured(fields: Mapping[str, str], names: Sequence[str]) -> tuple[float, float, float]:
    """Score, floor and ceiling: all there and apart where the row has a measure, all empty where it has none."""
    score, floor, ceiling = (_number(fields[name], name) for name in ("score", "floor", "ceiling"))
    measure = fields["measure"]
    if fields["status"] != "ok" or not measure:
        given = [name for name in ("measure", "score", "floor", "ceiling") if fields[name]]
        if given:
            raise ValueError(f"has no measure to compare, but a {given[0]}")
        return score, floor, ceiling
    if measure not in names:
        raise ValueError(f"measure {measure[:40]!r} is not among its measures")
    for name in ("score", "floor", "ceiling"):
        if not fields[name]:
            raise ValueError(f"{name} is empty")
    if math.isnan(normalized(score, floor, ceiling)):
        raise ValueError("floor and ceiling are equal, so the score says nothing")
    return score, floor, ceiling


def _number(text: str, name: str) -> float:
    """A finite number, NaN where the field is empty."""
    if not text:
        return math.nan
    if not re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?", text) or not math.isfinite(
        float(text)
    ):
        raise ValueError(f"{name} {text[:40]!r} is no finite number")
    return float(text)


def _check_utility(path: Path, found: Mapping[Key, ComparedRow]) -> None:
    """Rows of one trained model state one utility.

    Raises:
        DataError: they do not.
    """
    first: dict[tuple[object, ...], tuple[int, Mapping[str, float]]] = {}
    for number, (key, point) in enumerate(found.items(), start=1):
        model = trained_by(key)
        other, utility = first.setdefault(model, (number, point.utility))
        if utility and point.utility and dict(utility) != dict(point.utility):
            names = sorted(
                n for n in {*utility, *point.utility} if utility.get(n) != point.utility.get(n)
            )
            raise DataError(
                f"{path}: rows {other} and {number} are of one trained model and state another utility: "
                f"{', '.join(names)}"
            )
