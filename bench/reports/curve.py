"""Curves of success over the budget: an attack run at every value of its effort, as a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas

from bench.interfaces.budget_axis import Effort
from bench.planning.curve import effort_of
from bench.reports.comparability import view_label
from bench.spec.cell import CellSpec
from bench.spec.names import parse_plugin
from bench.types.targets import HEADLINE

LEGEND = 8  # lines of one panel that a reader can tell apart


@dataclass(frozen=True)
class CurvePoint:
    """What one spending of an attack brought, over seeds.

    Attributes:
        attack: with its parameters, less the knob.
        knob, value: what was spent, and how much of it.
        normalized: mean of the target's headline measure between floor and ceiling; low, high: the
            lowest and the highest seed.
        seeds: how many.
    """

    attack: str
    victim: str
    protocol: str
    defense: str
    view: str
    target: str
    metric: str
    knob: str
    value: int
    normalized: float = 0.0
    low: float = 0.0
    high: float = 0.0
    seeds: int = 0


def curve_points(rows: Sequence[Mapping[str, Any]]) -> list[CurvePoint]:
    """The curves that ``rows`` hold, in rising order of what was spent; rows that are not ``ok`` are left out."""
    groups: dict[CurvePoint, list[float]] = {}
    for row in rows:
        metric = HEADLINE[str(row["target"])]
        score = row.get(f"{metric}_normalized")
        if row["status"] == "ok" and isinstance(score, float):
            groups.setdefault(_place(row, metric), []).append(score)
    points = [
        replace(
            place,
            normalized=sum(found) / len(found),
            low=min(found),
            high=max(found),
            seeds=len(found),
        )
        for place, found in groups.items()
    ]
    return sorted(
        points, key=lambda p: (p.attack, p.victim, p.protocol, p.defense, p.view, p.target, p.value)
    )


def _place(row: Mapping[str, Any], metric: str) -> CurvePoint:
    """Where on which curve a row lies; its score is left open."""
    cell = CellSpec.model_validate_json(str(row["spec"]))
    name, params = parse_plugin(cell.attack.attack.label)
    effort = effort_of(name)
    fixed = ",".join(f"{key}={value}" for key, value in params.items() if key != effort.knob)
    return CurvePoint(
        attack=f"{name}:{fixed}" if fixed else name,
        victim=str(row["victim"]),
        protocol=str(row["protocol"]),
        defense=str(row["defense"]),
        view=view_label(str(row["threat_model"]), str(row["withheld_from_view"])),
        target=str(row["target"]),
        metric=metric,
        knob=effort.knob,
        value=_spent(cell, effort),
    )


def _spent(cell: CellSpec, effort: Effort) -> int:
    if effort.knob == "iterations":
        return cell.attack.iterations
    if effort.knob == "auxiliary":
        return cell.capture.data.splits.auxiliary
    return int(str(cell.attack.attack.params[effort.knob]))


def curve_table(points: Sequence[CurvePoint]) -> pandas.DataFrame:
    """One line a point."""
    return pandas.DataFrame([asdict(point) for point in points])


def draw_curves(points: Sequence[CurvePoint], path: Path) -> None:
    """Write a PNG: one panel a target, one line an attack under one defence and view, the seeds' range as a band."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    targets = list(dict.fromkeys(p.target for p in points))
    figure, axes = pyplot.subplots(
        1, len(targets), figsize=(5 * len(targets), 3.6), squeeze=False, sharey=True
    )
    for target, axis in zip(targets, axes[0], strict=True):
        lines: dict[str, list[CurvePoint]] = {}
        for p in points:
            if p.target == target:
                lines.setdefault(
                    f"{p.attack} over {p.knob}, {p.defense}, {p.protocol}, {p.view}", []
                ).append(p)
        for label, line in lines.items():
            spent = [p.value for p in line]
            (drawn,) = axis.plot(
                spent, [p.normalized for p in line], marker="o", markersize=3, label=label
            )
            axis.fill_between(
                spent,
                [p.low for p in line],
                [p.high for p in line],
                alpha=0.2,
                color=drawn.get_color(),
            )
        axis.set_title(target, fontsize=10)
        axis.set_xlabel("spent")
        axis.axhline(0, color="grey", linewidth=0.5)
        axis.axhline(1, color="grey", linewidth=0.5)
        if len(lines) <= LEGEND:
            axis.legend(fontsize=6)
    axes[0, 0].set_ylabel("success (0: floor, 1: ceiling)")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
