"""Curves of an attack's success over its budget, as a table and a picture.

``bench run --curve`` runs an attack at every value of its budget parameter, the ``knob``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas

from bench.interfaces.budget_axis import BudgetAxis
from bench.planning.curve import budget_axis_of
from bench.reports.comparability import view_label
from bench.settings.cell import CellSpec
from bench.settings.names import parse_plugin
from bench.types.targets import HEADLINE

LEGEND_LINES = 8  # a panel with more lines has no legend


@dataclass(frozen=True)
class CurvePoint:
    """The success of an attack at one budget, over seeds.

    Attributes:
        attack: label of the attack without the parameter ``knob``.
        victim: label of the victim.
        protocol: protocol of the victim.
        defense: label of the defence.
        view: the threat model and the withheld channels.
        target: what is claimed.
        metric: the headline measure of the target.
        knob: the parameter of the budget.
        value: value of that parameter.
        normalized: mean of the measure over seeds, 0 at the floor and 1 at the ceiling.
        low: value of the lowest seed.
        high: value of the highest seed.
        seeds: number of seeds.
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
    """Return the points of all curves in the ``ok`` rows, by curve and rising budget."""
    groups: dict[CurvePoint, list[float]] = {}
    for row in rows:
        metric = HEADLINE[str(row["target"])]
        score = row.get(f"{metric}_normalized")
        if row["status"] == "ok" and isinstance(score, float):
            groups.setdefault(_empty_point(row, metric), []).append(score)
    points = [
        replace(
            point,
            normalized=sum(scores) / len(scores),
            low=min(scores),
            high=max(scores),
            seeds=len(scores),
        )
        for point, scores in groups.items()
    ]
    return sorted(
        points, key=lambda p: (p.attack, p.victim, p.protocol, p.defense, p.view, p.target, p.value)
    )


def _empty_point(row: Mapping[str, Any], metric: str) -> CurvePoint:
    """Return the point of a row without its score."""
    cell = CellSpec.model_validate_json(str(row["spec"]))
    name, params = parse_plugin(cell.attack.attack.label)
    budget_axis = budget_axis_of(name)
    fixed = ",".join(f"{key}={value}" for key, value in params.items() if key != budget_axis.knob)
    return CurvePoint(
        attack=f"{name}:{fixed}" if fixed else name,
        victim=str(row["victim"]),
        protocol=str(row["protocol"]),
        defense=str(row["defense"]),
        view=view_label(str(row["threat_model"]), str(row["withheld_from_view"])),
        target=str(row["target"]),
        metric=metric,
        knob=budget_axis.knob,
        value=_budget(cell, budget_axis),
    )


def _budget(cell: CellSpec, budget_axis: BudgetAxis) -> int:
    if budget_axis.knob == "iterations":
        return cell.attack.iterations
    if budget_axis.knob == "auxiliary":
        return cell.capture.data.splits.auxiliary
    return int(str(cell.attack.attack.params[budget_axis.knob]))


def curve_table(points: Sequence[CurvePoint]) -> pandas.DataFrame:
    """Return a table with one line for each point."""
    return pandas.DataFrame([asdict(point) for point in points])


def draw_curves(points: Sequence[CurvePoint], path: Path) -> None:
    """Write a PNG with a panel for each target.

    Each line is an attack under one defence and view, and its band is the range of the seeds.
    """
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
            budgets = [p.value for p in line]
            (plotted,) = axis.plot(
                budgets, [p.normalized for p in line], marker="o", markersize=3, label=label
            )
            axis.fill_between(
                budgets,
                [p.low for p in line],
                [p.high for p in line],
                alpha=0.2,
                color=plotted.get_color(),
            )
        axis.set_title(target, fontsize=10)
        axis.set_xlabel("budget")
        axis.axhline(0, color="grey", linewidth=0.5)
        axis.axhline(1, color="grey", linewidth=0.5)
        if len(lines) <= LEGEND_LINES:
            axis.legend(fontsize=6)
    axes[0, 0].set_ylabel("success (0: floor, 1: ceiling)")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
