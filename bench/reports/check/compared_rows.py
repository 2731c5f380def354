"""Extracts from rows what a check compares: a measure of an attack at a seed, with controls."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from bench.reports.comparability import (
    SETTING,
    AttackBudget,
    ComparisonSetting,
    Row,
    ScoreReader,
    Trial,
    choose_measure,
    measures,
    number,
    text,
    trials,
)
from bench.util.errors import DataError
from bench.util.stats import normalized

Key = tuple[ComparisonSetting, str, AttackBudget, int]
"""Setting, defence, attack and seed, by which rows of both sides are paired."""

IDENTIFIED = "identified"
"""The metric that is 1 for records whose reconstruction is identified as the record."""

_ATTACKERS = (
    "target",
    "threat",
    "threat_model",
    "withheld_from_view",
    "records_auxiliary",
    "targets",
    "epoch",
)
"""Fields of a setting that do not concern the trained model."""

MEAN_DIGITS = 1e-5
"""Allowed difference of a mean and the mean of its records, relative to their size above 1."""


@dataclass(frozen=True, eq=False)
class ComparedRow:
    """A row of a ledger or a baseline with the fields that a check needs.

    Attributes:
        key: setting, defence, attack and seed.
        status: status of the row.
        reason: why the status is not ``ok``.
        certificate: whether the attack must reach a certificate in this row.
        measure: the compared measure; empty where the row has no measure between controls.
        score: mean of the measure; NaN where there is no measure.
        floor: score of the floor; NaN where there is no measure.
        ceiling: score of the ceiling; NaN where there is no measure.
        drawn: fingerprint of the scored records where they are named by position, else empty.
        cell_id: the cell.
        processor: the processor that made the row; empty where the row does not name it.
        measures: all measures of the row with controls, sorted.
        scores: scores by record; empty where only the mean is known.
        identified: by record, 1 where its reconstruction is identified as the record; empty where
            that was not measured.
        blind: whether no measure of the row is significantly above its floor. A baseline does not
            keep it.
        utility: quality of the trained model, by name.
    """

    key: Key
    status: str
    reason: str
    certificate: bool
    measure: str
    score: float
    floor: float
    ceiling: float
    drawn: str
    cell_id: str
    processor: str = ""
    measures: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    identified: Mapping[str, float] = field(default_factory=dict)
    blind: bool = False
    utility: Mapping[str, float] = field(default_factory=dict)


def compared_rows(
    rows: Iterable[Row], read: ScoreReader, *, measure: str, chosen: Mapping[Key, str] | None = None
) -> dict[Key, ComparedRow]:
    """Return the newest row of each key.

    Args:
        rows: rows of a ledger.
        read: reads scores by record.
        measure: the preferred measure of keys that are not in ``chosen``.
        chosen: the measure by key, as the baseline has it.

    Raises:
        DataError: scores by record contradict their mean in the row.
    """
    newest = trials(rows)
    by_setting: dict[ComparisonSetting, list[Row]] = {}
    for trial in newest:
        by_setting.setdefault(trial.setting, []).append(trial.row)
    usual = {
        setting: choose_measure(of_setting, measure) or measure
        for setting, of_setting in by_setting.items()
    }
    fixed = chosen or {}
    return {
        t.key: _compared_row(t, fixed.get(t.key) or _usual(t, usual[t.setting]), read)
        for t in newest
    }


def _usual(trial: Trial, measure: str) -> str:
    """Return the measure of the trial's setting, or another one where the row lacks it."""
    return (
        measure
        if measure in measures(trial.row)
        else choose_measure([trial.row], measure) or measure
    )


def _compared_row(trial: Trial, measure: str, read: ScoreReader) -> ComparedRow:
    row = trial.row
    cell_id, target = str(row["cell_id"]), trial.setting["target"]
    ok = trial.status == "ok"
    score, floor, ceiling, nearest = (
        number(row.get(measure + end)) for end in ("", "_floor", "_ceiling", "_nearest")
    )
    if not ok or math.isnan(normalized(score, floor, ceiling)):
        measure, score, floor, ceiling, nearest = "", math.nan, math.nan, math.nan, math.nan
    scores = read(cell_id, target, measure) if measure else {}
    if not agrees(score, scores):
        raise DataError(
            f"cell {cell_id}: the scores by record contradict the row's {measure} of the {target}"
        )
    by_position = all(record.isdigit() for record in scores)
    return ComparedRow(
        key=trial.key,
        status=trial.status,
        reason=text(row.get("reason")),
        certificate=bool(row.get("certificate")),
        measure=measure,
        score=score,
        floor=floor,
        ceiling=ceiling,
        drawn=f"{nearest:.4f}" if by_position and not math.isnan(nearest) else "",
        cell_id=cell_id,
        processor=text(row.get("processor")),
        measures=tuple(measures(row)),
        scores=scores,
        identified=read(cell_id, target, IDENTIFIED) if ok else {},
        blind=ok and _is_blind(row),
        utility={
            n.removeprefix("utility_"): v
            for n, x in row.items()
            if is_figure(n) and not math.isnan(v := number(x))
        },
    )


def is_figure(name: str) -> bool:
    """Return whether a column holds a quality of the trained model."""
    return name.startswith("utility_") and name not in SETTING


def agrees(mean: float, scores: Mapping[str, float]) -> bool:
    """Return whether scores by record have this mean; no scores agree with every mean."""
    return not scores or abs(fmean(scores.values()) - mean) <= MEAN_DIGITS * max(1.0, abs(mean))


def _is_blind(row: Row) -> bool:
    """Return whether the interval of every measure with controls reaches the floor."""
    at_floor = []
    for name in measures(row):
        low, high, floor, ceiling = (
            number(row.get(f"{name}_{end}")) for end in ("low", "high", "floor", "ceiling")
        )
        closest = low if ceiling > floor else high
        at_floor.append(
            not math.isnan(closest) and (closest <= floor if ceiling > floor else closest >= floor)
        )
    return bool(at_floor) and all(at_floor)


def trained_by(key: Key) -> tuple[tuple[str, ...], str, str, int]:
    """Return what identifies the trained model of a key.

    It is the setting without the fields of the attacker, the defence and the seed. A malicious
    server takes part in the training, so its attack counts too.
    """
    setting, defense, attack, seed = key
    server = attack.label if "malicious" in setting["threat_model"] else ""
    return setting.without(*_ATTACKERS), defense, server, seed
