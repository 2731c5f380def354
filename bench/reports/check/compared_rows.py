"""Rows of a ledger as points of a check: one measure of one attack on one defence at one seed, with its controls."""

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
"""What is compared with what: setting, defence, attack and seed."""

IDENTIFIED = "identified"
"""The metric that says of each record whether its reconstruction passes for it."""

_ATTACKERS = (
    "target",
    "threat",
    "threat_model",
    "withheld_from_view",
    "records_auxiliary",
    "targets",
    "epoch",
)
"""Fields of a setting that say nothing of the trained model."""

MEAN_DIGITS = 1e-5
"""A mean and the mean of its records' scores agree to this, relative to their size above 1."""


@dataclass(frozen=True, eq=False)
class ComparedRow:
    """One row of a ledger or a baseline, as far as a check needs it.

    Attributes:
        certificate: whether the row is an attack's proof that it works, on a victim it must break.
        measure: what is compared; empty where the row has no measure between controls.
        score, floor, ceiling: the measure's mean and its controls; NaN where there is no measure.
        measures: all measures of the row that stand between controls, sorted.
        drawn: fingerprint of the scored records where they are named by position only, else empty.
        processor: what made the row; empty where it does not say.
        scores: of the measure by record; empty where only the mean is known.
        identified: by record, 1 where the reconstruction passes for it; empty where that was not
            measured.
        blind: whether no measure of the row is above its floor by more than chance. Not kept in a
            baseline.
        utility: of the trained model, by name.
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
    """The newest row of each key.

    Args:
        measure: preferred where ``chosen`` does not say.
        chosen: the measure by key, as a baseline has it.

    Raises:
        DataError: scores by record contradict their mean in the row.
    """
    found = trials(rows)
    by_setting: dict[ComparisonSetting, list[Row]] = {}
    for trial in found:
        by_setting.setdefault(trial.setting, []).append(trial.row)
    usual = {
        setting: choose_measure(of_setting, measure) or measure
        for setting, of_setting in by_setting.items()
    }
    fixed = chosen or {}
    return {t.key: _point(t, fixed.get(t.key) or _usual(t, usual[t.setting]), read) for t in found}


def _usual(trial: Trial, measure: str) -> str:
    """The measure of the trial's setting, or one that the row has where it lacks that one."""
    return (
        measure
        if measure in measures(trial.row)
        else choose_measure([trial.row], measure) or measure
    )


def _point(trial: Trial, measure: str, read: ScoreReader) -> ComparedRow:
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
    """Whether a column holds a figure of the trained model's utility."""
    return name.startswith("utility_") and name not in SETTING


def agrees(mean: float, scores: Mapping[str, float]) -> bool:
    """Whether scores by record have this mean; no scores contradict nothing."""
    return not scores or abs(fmean(scores.values()) - mean) <= MEAN_DIGITS * max(1.0, abs(mean))


def _is_blind(row: Row) -> bool:
    """Whether every measure between controls has its floor within its interval, or beyond it."""
    found = []
    for name in measures(row):
        low, high, floor, ceiling = (
            number(row.get(f"{name}_{end}")) for end in ("low", "high", "floor", "ceiling")
        )
        near = low if ceiling > floor else high
        found.append(not math.isnan(near) and (near <= floor if ceiling > floor else near >= floor))
    return bool(found) and all(found)


def trained_by(key: Key) -> tuple[tuple[str, ...], str, str, int]:
    """What names the trained model of a key: its setting without the attacker's part, its defence
    and its seed.

    A malicious server takes part in the training, so there the attack counts too.
    """
    setting, defense, attack, seed = key
    server = attack.label if "malicious" in setting["threat_model"] else ""
    return setting.without(*_ATTACKERS), defense, server, seed
