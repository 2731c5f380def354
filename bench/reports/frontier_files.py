"""Writes the privacy-utility frontier as CSV, as Markdown, and as a plot for every view."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.ledger.reader import open_ledger
from bench.reports.comparability import UNDEFENDED, ledger_scores
from bench.reports.frontier import (
    LEARNED_QUALITY,
    QUALITIES,
    UNKNOWN,
    FrontierPoint,
    Leak,
    Quality,
    frontier,
)
from bench.reports.leaderboard import MEASURE
from bench.types.targets import TARGETS
from bench.util.errors import RequestError
from bench.util.files import disk_errors, write_reports
from bench.util.stats import Interval


def write_frontier(
    results: Path,
    *,
    measure: str = MEASURE,
    reference: str = UNDEFENDED,
    show: Callable[[str], None] | None = None,
) -> list[FrontierPoint]:
    """Read the ledger under ``results``; write ``frontier.csv``, ``frontier.md`` and a PNG a view
    beside it.

    Args:
        show: takes the Markdown where ``results`` cannot be written; there are no pictures then.

    Raises:
        RequestError: there is no ledger, or nothing in it with both an attack and a quality.
        NotWritableError: ``results`` cannot be written, and there is no ``show``.
    """
    ledger = open_ledger(results)
    points = frontier(ledger.rows(), ledger_scores(ledger), measure=measure, reference=reference)
    if not points:
        raise RequestError(
            f"{results}: the ledger has no defence with an attacked picture and a measured quality"
        )
    texts = {"frontier.csv": as_csv(points), "frontier.md": as_markdown(points, reference)}
    if not write_reports(results, texts, show):
        return points
    with disk_errors(results):
        for view in _views(points):
            words = "-".join(filter(None, re.split(r"[^a-z0-9]+", " ".join(view).lower())))
            draw(_of(points, view), results / f"frontier-{words}.png")
    return points


def _views(points: Sequence[FrontierPoint]) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys(p.table for p in points))


def _of(points: Sequence[FrontierPoint], view: tuple[str, str, str]) -> list[FrontierPoint]:
    return [p for p in points if p.table == view]


def as_csv(points: Sequence[FrontierPoint]) -> str:
    """One line a defence, view and target."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [
        "normalized",
        "learnt",
        *(f"{quality.column.removeprefix('utility_')}_ratio" for quality in QUALITIES),
    ]
    bounds = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    writer.writerow(
        [
            "victim",
            "protocol",
            "view",
            "defense",
            "target",
            "attack",
            *bounds,
            "seeds",
            "best",
            "goal",
            "partial",
        ]
    )
    for p in points:
        for target, leak in p.leaks.items():
            intervals = [
                leak.normalized,
                p.learned,
                *(p.costs.get(quality, UNKNOWN) for quality in QUALITIES),
            ]
            numbers = [n for i in intervals for n in (i.mean, i.low, i.high)]
            shown = ["" if math.isnan(n) else f"{n:.6g}" for n in numbers]
            marks = [p.seeds, int(p.best), int(p.reaches_goal), leak.partial]
            writer.writerow([*p.table, p.defense, target, leak.attack, *shown, *marks])
    return stream.getvalue()


def as_markdown(points: Sequence[FrontierPoint], reference: str) -> str:
    """One table a view."""
    lines = [
        "# Privacy and quality",
        "",
        "Each defence by its worst attack on each target, between an attacker who saw nothing (0) and the round trip",
        f"of the model (1), beside its quality as a share of that under `{reference}`, paired by seed.",
        f"Of {LEARNED_QUALITY.title} also how far it has come from the untrained model (0) to the reference (1). Brackets",
        "are 95 % intervals over seeds; `floor`: not told apart from 0. **Bold**: no other defence of the table leaks",
        "no more at no more cost.",
        f"Goal: nothing above the floor of what is above it under `{reference}`; "
        f"{', '.join(_goal(quality) for quality in QUALITIES)}.",
    ]
    for view in _views(points):
        mine = _of(points, view)
        targets = [t for t in TARGETS if any(t in p.leaks for p in mine)]
        reached = [f"`{p.defense}`" for p in mine if p.reaches_goal]
        qualities = _qualities(mine)
        known = (
            [LEARNED_QUALITY.title + " learnt"]
            if any(not math.isnan(p.learned.mean) for p in mine)
            else []
        )
        heads = ["defence", *targets, *(quality.title for quality in qualities), *known, "seeds"]
        lines += [
            "",
            "## " + ", ".join(view).replace("_", "\\_"),
            "",
            "| " + " | ".join(heads) + " |",
        ]
        lines.append("|" + "---|" * len(heads))
        for p in mine:
            name = f"**{p.defense}**" if p.best else p.defense
            shares = [_share(p.costs.get(quality, UNKNOWN)) for quality in qualities]
            cells = [
                name,
                *(_leak(p.leaks.get(t)) for t in targets),
                *shares,
                *(_share(p.learned) for _ in known),
                str(p.seeds),
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines += [
            "",
            f"Goal reached by {', '.join(reached)}."
            if reached
            else "No defence here reaches the goal.",
        ]
        unproven = [t for t in targets if any(t in p.unproven for p in mine)]
        if unproven:
            lines[-1] += (
                f" It is not shown that these attacks get the {' or the '.join(unproven)} off `{reference}`."
            )
    return "\n".join(lines) + "\n"


def _goal(quality: Quality) -> str:
    return (
        f"{quality.title} {'at most' if quality.less_is_better else 'at least'} {quality.goal:.2f}"
    )


def _qualities(points: Sequence[FrontierPoint]) -> list[Quality]:
    return [quality for quality in QUALITIES if any(quality in p.costs for p in points)]


def _leak(leak: Leak | None) -> str:
    if leak is None:
        return ""
    shown = f"{leak.normalized.mean:.3f}{_bounds(leak.normalized)} {leak.attack}"
    return shown + (" floor" if leak.at_floor else "") + (" (partial)" if leak.partial else "")


def _share(interval: Interval) -> str:
    return "" if math.isnan(interval.mean) else f"{interval.mean:.3f}{_bounds(interval)}"


def _bounds(interval: Interval) -> str:
    return "" if math.isnan(interval.low) else f" [{interval.low:.3f}, {interval.high:.3f}]"


def draw(points: Sequence[FrontierPoint], path: Path) -> None:
    """One view's PNG: a row of panels a target, leak against each quality, and a key.

    A defence's strengths, or a stack's, share a colour and are joined in the order of their leaks.
    Numbers mark what no other defence beats.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    targets = [t for t in TARGETS if any(t in p.leaks for p in points)]
    qualities, styles = _qualities(points), _styles(points)
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
        ", ".join(_views(points)[0]) + "   (numbered: none leaks no more at no more cost)",
        fontsize=9,
    )
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def family(defense: str) -> str:
    """The stack without its parameters."""
    return "+".join(part.partition(":")[0] for part in defense.split("+"))


def _styles(points: Sequence[FrontierPoint]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each family."""
    names = sorted({family(p.defense) for p in points})
    return {name: (f"C{n % 10}", "osv^D"[n // 10 % 5]) for n, name in enumerate(names)}


def _panel(axis: Any, points: Sequence[FrontierPoint], target: str, quality: Quality) -> None:
    """Points with the intervals of both coordinates, families joined."""
    numbered = list(enumerate(points, 1))
    shown = [
        (n, p, p.costs[quality]) for n, p in numbered if target in p.leaks and quality in p.costs
    ]
    for name, (colour, marker) in _styles(points).items():
        mine = [
            (p.leaks[target].normalized, cost) for _, p, cost in shown if family(p.defense) == name
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
    for n, point, cost in shown:
        if point.best:
            place = (cost.mean, point.leaks[target].normalized.mean)
            axis.annotate(str(n), place, fontsize=6, xytext=(3, 3), textcoords="offset points")
    axis.axhline(0, color="grey", linewidth=0.6)
    axis.axvline(quality.goal, color="grey", linewidth=0.6, linestyle="--")
    axis.set_xlabel(f"{quality.title}, of the reference's")


def _arms(interval: Interval) -> list[list[float]] | None:
    if math.isnan(interval.low):
        return None
    return [[max(0.0, interval.mean - interval.low)], [max(0.0, interval.high - interval.mean)]]
