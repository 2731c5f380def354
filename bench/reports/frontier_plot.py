"""Draws the privacy-utility frontier of one view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.reports.frontier_point import FrontierPoint, Quality, qualities_of
from bench.types.targets import TARGETS
from bench.util.stats import Interval


def draw(points: Sequence[FrontierPoint], path: Path) -> None:
    """Write a PNG of one view with a row of panels for each target: leak against each quality.

    Defences that differ in parameters only share a colour and are joined in the order of their
    leaks. Numbers mark defences that no other defence dominates.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    targets = [t for t in TARGETS if any(t in p.leaks for p in points)]
    qualities, styles = qualities_of(points), _styles(points)
    height = max(4.6 * len(targets), 0.17 * (len(styles) + sum(p.best for p in points)) + 1.2)
    columns = len(qualities) + 1
    figure, axes = pyplot.subplots(
        len(targets), columns, squeeze=False, figsize=(17 / 3 * columns, height)
    )
    for target, row in zip(targets, axes, strict=True):
        for axis, quality in zip(row, qualities, strict=False):
            _panel(axis, points, target, quality)
        row[0].set_ylabel(f"{target}: worst attack (0: floor, 1: ceiling)")
        row[-1].axis("off")
    handles = [
        axes[0, 0].errorbar([], [], fmt=marker, color=colour) for colour, marker in styles.values()
    ]
    key = axes[0, -1].legend(handles, list(styles), loc="upper left", fontsize=7, frameon=False)
    best = "\n".join(f"{n:>2} {p.defense}" for n, p in enumerate(points, 1) if p.best)
    figure.canvas.draw()
    below = key.get_window_extent().transformed(axes[0, -1].transAxes.inverted()).y0
    axes[0, -1].text(
        0,
        below - 0.03,
        best,
        transform=axes[0, -1].transAxes,
        fontsize=6.5,
        family="monospace",
        va="top",
    )
    figure.suptitle(
        ", ".join(points[0].table) + "   (numbered: none leaks no more at no more cost)",
        fontsize=9,
    )
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def family(defense: str) -> str:
    """Return the label of a defence, or of a stack of defences, without parameters."""
    return "+".join(part.partition(":")[0] for part in defense.split("+"))


def _styles(points: Sequence[FrontierPoint]) -> dict[str, tuple[str, str]]:
    """Return colour and marker of each family."""
    names = sorted({family(p.defense) for p in points})
    return {name: (f"C{n % 10}", "osv^D"[n // 10 % 5]) for n, name in enumerate(names)}


def _panel(axis: Any, points: Sequence[FrontierPoint], target: str, quality: Quality) -> None:
    """Draw points with the intervals of both coordinates, and join those of a family."""
    numbered = list(enumerate(points, 1))
    drawn = [
        (n, p, p.costs[quality]) for n, p in numbered if target in p.leaks and quality in p.costs
    ]
    for name, (colour, marker) in _styles(points).items():
        mine = [
            (p.leaks[target].normalized, cost) for _, p, cost in drawn if family(p.defense) == name
        ]
        for leak, cost in mine:
            arms = {"xerr": _arms(cost), "yerr": _arms(leak)}
            axis.errorbar(
                [cost.mean],
                [leak.mean],
                **arms,
                fmt=marker,
                markersize=4,
                linewidth=0.6,
                color=colour,
            )
        line = sorted((leak.mean, cost.mean) for leak, cost in mine)
        axis.plot(
            [x for _, x in line], [y for y, _ in line], linewidth=0.8, alpha=0.5, color=colour
        )
    for n, point, cost in drawn:
        if point.best:
            position = (cost.mean, point.leaks[target].normalized.mean)
            axis.annotate(str(n), position, fontsize=6, xytext=(3, 3), textcoords="offset points")
    axis.axhline(0, color="grey", linewidth=0.6)
    axis.axvline(quality.goal, color="grey", linewidth=0.6, linestyle="--")
    axis.set_xlabel(f"{quality.title} relative to the reference")


def _arms(interval: Interval) -> list[list[float]] | None:
    if math.isnan(interval.low):
        return None
    return [[max(0.0, interval.mean - interval.low)], [max(0.0, interval.high - interval.mean)]]
