"""What a check compares with: rows in a CSV file, scores by record beside it, and why they were last changed."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.comparable import (
    SETTING,
    AttackBudget,
    Row,
    ScoreReader,
    Setting,
    Trial,
    choose_measure,
    number,
    text,
    trials,
)
from bench.errors import DataError, RequestError
from bench.files import disk_errors, write_text
from bench.merge_read import read_rows_csv
from bench.provenance import commit

_OWN = ("seed", "status", "reason", "certificate", "measure", "score", "floor", "ceiling", "drawn", "cell_id")
_ATTACK = ("attack", "attack_iterations", "attack_batch_size")

Key = tuple[Setting, str, AttackBudget, int]
"""What is compared with what: setting, defence, attack and seed."""


@dataclass(frozen=True, eq=False)
class Point:
    """One row of a ledger or a baseline, as far as a check needs it.

    Attributes:
        certificate: whether the row is an attack's proof that it works, on a victim it must break.
        score, floor, ceiling: mean of the measure and of its controls; NaN where there is none.
        drawn: fingerprint of the scored records.
        scores: by record; empty where only the mean is known.
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
    scores: Mapping[str, float] = field(default_factory=dict)
    utility: Mapping[str, float] = field(default_factory=dict)


def points(
    rows: Iterable[Row], read: ScoreReader, *, measure: str, measures: Mapping[Key, str] | None = None
) -> dict[Key, Point]:
    """The newest row of each key.

    Args:
        measure: preferred where ``measures`` does not say.
        measures: the measure by key, as a baseline has it.
    """
    found = trials(rows)
    by_setting: dict[Setting, list[Row]] = {}
    for trial in found:
        by_setting.setdefault(trial.setting, []).append(trial.row)
    chosen = {setting: choose_measure(of_setting, measure) or measure for setting, of_setting in by_setting.items()}
    return {t.key: _point(t, (measures or {}).get(t.key) or chosen[t.setting], read) for t in found}


def _point(trial: Trial, measure: str, read: ScoreReader) -> Point:
    row = trial.row
    cell_id = str(row["cell_id"])
    score, floor, ceiling, nearest = (number(row.get(measure + end)) for end in ("", "_floor", "_ceiling", "_nearest"))
    return Point(
        key=trial.key,
        status=trial.status,
        reason=text(row.get("reason")),
        certificate=bool(row.get("certificate")),
        measure=measure,
        score=score,
        floor=floor,
        ceiling=ceiling,
        drawn="" if math.isnan(nearest) else f"{nearest:.4f}",
        cell_id=cell_id,
        scores=read(cell_id, trial.setting["target"], measure) if trial.status == "ok" else {},
        utility={
            n.removeprefix("utility_"): v for n, x in row.items() if _is_figure(n) and not math.isnan(v := number(x))
        },
    )


def _is_figure(name: str) -> bool:
    return name.startswith("utility_") and name not in SETTING


def read_baseline(path: Path) -> dict[Key, Point]:
    """A baseline with its scores by record, where they are beside it.

    Raises:
        RequestError: there is none.
        DataError: a file is damaged; the message names it.
    """
    if not path.exists():
        raise RequestError(f"{path}: no baseline there; make one with bench check --update --reason TEXT")
    scores = _read_scores(_scores_path(path))
    found: dict[Key, Point] = {}
    for row in read_rows_csv(path):
        try:
            setting = Setting(tuple(text(row.get(name)) for name in SETTING))
            attack = AttackBudget(*(text(row.get(name)) for name in _ATTACK))
            key = (setting, str(row["defense"]), attack, int(row["seed"]))
            cell_id = str(row["cell_id"])
            point = Point(
                key=key,
                status=str(row["status"]),
                reason=text(row.get("reason")),
                certificate=bool(row.get("certificate")),
                measure=str(row["measure"]),
                score=number(row.get("score")),
                floor=number(row.get("floor")),
                ceiling=number(row.get("ceiling")),
                drawn="" if row.get("drawn") is None else f"{number(row['drawn']):.4f}",
                cell_id=cell_id,
                scores=scores.get((cell_id, setting["target"]), {}),
                utility={n.removeprefix("utility_"): number(x) for n, x in row.items() if _is_figure(n)},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not a baseline: {error} is missing or malformed") from error
        if key in found:
            raise DataError(f"{path}: has two rows of {key[1]}, {attack.label}, seed {key[3]}, {setting.title()}")
        found[key] = point
    return found


def write_baseline(path: Path, current: Mapping[Key, Point], *, reason: str, accepted: int) -> None:
    """Replace the baseline, and add a line to its history: when, why, from which source, what it accepts."""
    figures = sorted({name for point in current.values() for name in point.utility})
    header = [*SETTING, "defense", *_ATTACK, *_OWN, *(f"utility_{name}" for name in figures)]
    ordered = sorted(current.values(), key=lambda p: (p.key[0].values, p.key[1], str(p.key[2]), p.key[3]))
    history = path.with_name(f"{path.stem}.history.csv")
    line = [datetime.now(UTC).isoformat(timespec="seconds"), commit(), str(len(current)), str(accepted), reason]
    before = (
        history.read_text() if history.exists() else _csv_text([["created", "commit", "rows", "accepted", "reason"]])
    )
    with disk_errors(path):
        write_text(_scores_path(path), "".join(_scores_line(point) for point in ordered if point.scores))
        write_text(path, _csv_text([header, *(_line(point, figures) for point in ordered)]))
        write_text(history, before + _csv_text([line]))


def _line(point: Point, figures: Sequence[str]) -> list[str]:
    setting, defense, attack, seed = point.key
    return [
        *setting.values,
        defense,
        *(attack.label, attack.iterations, attack.batch_size),
        *(str(seed), point.status, point.reason, "1" if point.certificate else "", point.measure),
        *(_figure(value) for value in (point.score, point.floor, point.ceiling)),
        *(point.drawn, point.cell_id),
        *(_figure(point.utility.get(name, math.nan)) for name in figures),
    ]


def _figure(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.8g}"


def _csv_text(lines: Iterable[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def _scores_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.scores.jsonl")


def _scores_line(point: Point) -> str:
    """One cell and target a line, so that a diff shows what changed."""
    scores = {record: float(f"{value:.7g}") for record, value in point.scores.items()}
    return json.dumps({"cell_id": point.cell_id, "target": point.key[0]["target"], "scores": scores}) + "\n"


def _read_scores(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    found: dict[tuple[str, str], dict[str, float]] = {}
    if not path.exists():
        return found
    for i, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            content = json.loads(line)
            scores = {str(record): float(value) for record, value in content["scores"].items()}
            if not all(map(math.isfinite, scores.values())):
                raise ValueError("not finite")
            found[str(content["cell_id"]), str(content["target"])] = scores
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: line {i} holds no scores: {error}") from error
    return found
