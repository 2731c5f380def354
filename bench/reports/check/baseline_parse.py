"""Parses and checks the rows of a baseline; messages name the row."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.ledger.merge_check import CELL_ID, STATES
from bench.reports.check.baseline_rows import ATTACK_COLUMNS, COLUMNS, BaselineTable, Scores
from bench.reports.check.compared_rows import ComparedRow, Key, agrees, is_figure, trained_by
from bench.reports.comparability import SETTING, AttackBudget, ComparisonSetting
from bench.util.errors import DataError
from bench.util.stats import normalized

_NEEDED = ("victim", "dataset", "target", "defense", "attack", "split_hash")
_MEASURE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def parse_table(path: Path, scores_path: Path, table: BaselineTable) -> dict[Key, ComparedRow]:
    """Return the rows of a baseline by key.

    Args:
        path: the CSV file, for messages.
        scores_path: the scores file, for messages.
        table: the content of both files.

    Raises:
        DataError: a column is missing or unknown, a field is invalid, two rows have one key, or the
            scores contradict the rows; the message names the row.
    """
    header = list(table.header)
    unknown = [name for name in header if name not in COLUMNS and not is_figure(name)]
    missing = [name for name in COLUMNS if name not in header]
    repeated = [name for name in header if header.count(name) > 1]
    for names, problem in (
        (missing, "lacks the column"),
        (repeated, "repeats the column"),
        (unknown, "does not know"),
    ):
        if names:
            raise DataError(f"{path}: {problem} {', '.join(dict.fromkeys(names))}")
    scores = {(of_row.cell_id, of_row.target): of_row for of_row in table.scores}
    rows: dict[Key, ComparedRow] = {}
    for number, line in enumerate(table.lines[1:], start=1):
        fields = dict(zip(header, line, strict=True))
        of_row = scores.pop((fields["cell_id"], fields["target"]), None)
        try:
            point = _parse_row(fields, of_row)
        except ValueError as error:
            raise DataError(f"{path}: row {number}: {error}") from error
        if point.key in rows:
            setting, defense, attack, seed = point.key
            raise DataError(
                f"{path}: row {number}: there are two rows of {defense}, {attack.label}, "
                f"seed {seed}, {setting.title()}"
            )
        rows[point.key] = point
    if scores:
        cell_id, target = next(iter(scores))
        raise DataError(
            f"{scores_path}: has scores of the {target} of cell {cell_id}, "
            f"which has no row in {path.name}"
        )
    _check_utility(path, rows)
    return rows


def _parse_row(fields: Mapping[str, str], scores: Scores | None) -> ComparedRow:
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
    score, floor, ceiling = _parse_measure(fields, names)
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
            AttackBudget(*(fields[name] for name in ATTACK_COLUMNS)),
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


def _parse_measure(fields: Mapping[str, str], names: Sequence[str]) -> tuple[float, float, float]:
    """Return score, floor and ceiling of a row.

    All are set, with floor and ceiling different, where the row has a measure; else all are empty.
    """
    score, floor, ceiling = (_number(fields[name], name) for name in ("score", "floor", "ceiling"))
    measure = fields["measure"]
    if fields["status"] != "ok" or not measure:
        filled = [name for name in ("measure", "score", "floor", "ceiling") if fields[name]]
        if filled:
            raise ValueError(f"has no measure to compare, but a {filled[0]}")
        return score, floor, ceiling
    if measure not in names:
        raise ValueError(f"measure {measure[:40]!r} is not among its measures")
    for name in ("score", "floor", "ceiling"):
        if not fields[name]:
            raise ValueError(f"{name} is empty")
    if math.isnan(normalized(score, floor, ceiling)):
        raise ValueError("floor and ceiling are equal, so the score has no position")
    return score, floor, ceiling


def _number(text: str, name: str) -> float:
    """Return a finite number, NaN where the field is empty."""
    if not text:
        return math.nan
    if not re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?", text) or not math.isfinite(
        float(text)
    ):
        raise ValueError(f"{name} {text[:40]!r} is not a finite number")
    return float(text)


def _check_utility(path: Path, rows: Mapping[Key, ComparedRow]) -> None:
    """Refuse rows of one trained model that state different utility.

    Raises:
        DataError: names the two rows.
    """
    first: dict[tuple[object, ...], tuple[int, Mapping[str, float]]] = {}
    for number, (key, point) in enumerate(rows.items(), start=1):
        model = trained_by(key)
        other, utility = first.setdefault(model, (number, point.utility))
        if utility and point.utility and dict(utility) != dict(point.utility):
            names = sorted(
                n for n in {*utility, *point.utility} if utility.get(n) != point.utility.get(n)
            )
            raise DataError(
                f"{path}: rows {other} and {number} belong to one trained model, but differ in "
                f"{', '.join(names)}"
            )
