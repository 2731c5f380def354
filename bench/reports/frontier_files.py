"""Writes the privacy-utility frontier as CSV, as Markdown, and as a plot of each view."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.ledger.reader import open_ledger
from bench.reports.comparability import UNDEFENDED, ledger_scores
from bench.reports.frontier import frontier
from bench.reports.frontier_plot import draw
from bench.reports.frontier_point import (
    LEARNED_QUALITY,
    QUALITIES,
    UNKNOWN,
    FrontierPoint,
    Leak,
    Quality,
    qualities_of,
)
from bench.reports.leaderboard import MEASURE
from bench.reports.markdown import table
from bench.types.targets import TARGETS
from bench.util.errors import RequestError
from bench.util.files import disk_errors, write_reports
from bench.util.stats import Interval

if TYPE_CHECKING:
    import pandas


def write_frontier(
    results: Path,
    *,
    measure: str = MEASURE,
    reference: str = UNDEFENDED,
    show: Callable[[str], None] | None = None,
) -> list[FrontierPoint]:
    """Read the ledger under ``results``; write ``frontier.csv``, ``frontier.md`` and plots there.

    Args:
        results: the results directory.
        measure: the preferred metric.
        reference: the defence to whose quality others are compared.
        show: receives the Markdown where ``results`` is read-only; no plots are drawn then.

    Returns:
        The points, sorted by table and rising leak.

    Raises:
        RequestError: there is no ledger, or no defence in it has both an attack and a quality.
        NotWritableError: ``results`` is read-only, and ``show`` is None.
    """
    ledger = open_ledger(results)
    points = frontier(ledger.rows(), ledger_scores(ledger), measure=measure, reference=reference)
    if not points:
        raise RequestError(
            f"{results}: no defence in the ledger has both an attacked picture and a quality"
        )
    texts = {"frontier.csv": as_csv(points), "frontier.md": as_markdown(points, reference)}
    if not write_reports(results, texts, show):
        return points
    with disk_errors(results):
        for view in _views(points):
            name = "-".join(filter(None, re.split(r"[^a-z0-9]+", " ".join(view).lower())))
            draw(_points_of(points, view), results / f"frontier-{name}.png")
    return points


def _views(points: Sequence[FrontierPoint]) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys(p.table for p in points))


def _points_of(points: Sequence[FrontierPoint], view: tuple[str, str, str]) -> list[FrontierPoint]:
    return [p for p in points if p.table == view]


def as_csv(points: Sequence[FrontierPoint]) -> str:
    """Return a CSV file with one line for each defence, view and target."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for record in _records(points):
        writer.writerow([_field(value) for value in record])
    return stream.getvalue()


def to_frame(points: Sequence[FrontierPoint]) -> pandas.DataFrame:
    """Return a table with one line for each defence, view and target, as in ``frontier.csv``."""
    import pandas

    return pandas.DataFrame(list(_records(points)), columns=list(_COLUMNS))


_BOUNDED = (
    "normalized",
    "learnt",
    *(f"{quality.column.removeprefix('utility_')}_ratio" for quality in QUALITIES),
)
_COLUMNS = (
    *("victim", "protocol", "view", "defense", "target", "attack"),
    *(f"{name}{end}" for name in _BOUNDED for end in ("", "_low", "_high")),
    *("seeds", "best", "goal", "partial"),
)


def _records(points: Sequence[FrontierPoint]) -> Iterator[tuple[str | float, ...]]:
    for p in points:
        for target, leak in p.leaks.items():
            costs = (p.costs.get(quality, UNKNOWN) for quality in QUALITIES)
            bounds = [(i.mean, i.low, i.high) for i in (leak.normalized, p.learned, *costs)]
            yield (
                *(*p.table, p.defense, target, leak.attack),
                *itertools.chain(*bounds),
                *(p.seeds, int(p.best), int(p.reaches_goal), leak.partial),
            )


def _field(value: str | float) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def as_markdown(points: Sequence[FrontierPoint], reference: str) -> str:
    """Return a Markdown table for each view."""
    lines = [
        "# Privacy and quality",
        "",
        "Each defence by its worst attack on each target, on a scale from an attacker without a",
        "view (0) to the round trip of the model (1), beside its quality as a share of the quality",
        f"under `{reference}`, paired by seed. {LEARNED_QUALITY.title} learnt: position between",
        "the untrained model (0) and the reference (1). Brackets are 95 % intervals over seeds;",
        "`floor`: the interval reaches 0. **Bold**: no other defence of the table leaks no more at",
        "no more cost. Goal: no leak above the floor where attacks are above it under",
        f"`{reference}`, and {', '.join(_goal(quality) for quality in QUALITIES)}.",
    ]
    for view in _views(points):
        lines += ["", *_view_lines(_points_of(points, view), reference)]
    return "\n".join(lines) + "\n"


def _view_lines(points: Sequence[FrontierPoint], reference: str) -> list[str]:
    """Return the title, the table and the conclusion of one view."""
    targets = [t for t in TARGETS if any(t in p.leaks for p in points)]
    qualities = qualities_of(points)
    learned = [f"{LEARNED_QUALITY.title} learnt"]
    if all(math.isnan(p.learned.mean) for p in points):
        learned = []
    rows = [
        [
            f"**{p.defense}**" if p.best else p.defense,
            *(_leak_cell(p.leaks.get(t)) for t in targets),
            *(_share_cell(p.costs.get(quality, UNKNOWN)) for quality in qualities),
            *(_share_cell(p.learned) for _ in learned),
            str(p.seeds),
        ]
        for p in points
    ]
    heads = ["defence", *targets, *(quality.title for quality in qualities), *learned, "seeds"]
    reached = [f"`{p.defense}`" for p in points if p.reaches_goal]
    conclusion = "No defence here reaches the goal."
    if reached:
        conclusion = f"Goal reached by {', '.join(reached)}."
    if unproven := [t for t in targets if any(t in p.unproven for p in points)]:
        names = " or the ".join(unproven)
        conclusion += f" No attack is shown to recover the {names} under `{reference}`."
    title = "## " + ", ".join(points[0].table).replace("_", "\\_")
    return [title, "", *table(heads, rows), "", conclusion]


def _goal(quality: Quality) -> str:
    return (
        f"{quality.title} {'at most' if quality.less_is_better else 'at least'} {quality.goal:.2f}"
    )


def _leak_cell(leak: Leak | None) -> str:
    if leak is None:
        return ""
    shown = f"{leak.normalized.mean:.3f}{_bounds(leak.normalized)} {leak.attack}"
    return shown + (" floor" if leak.at_floor else "") + (" (partial)" if leak.partial else "")


def _share_cell(interval: Interval) -> str:
    return "" if math.isnan(interval.mean) else f"{interval.mean:.3f}{_bounds(interval)}"


def _bounds(interval: Interval) -> str:
    return "" if math.isnan(interval.low) else f" [{interval.low:.3f}, {interval.high:.3f}]"
