"""Prints the result of a cell, each score between its controls."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.scoring.controls.images import MAJORITY, NEAREST, SHUFFLED, TYPICAL
from bench.types.targets import ATTRIBUTE, IDENTITY, LINK, PROMPT
from bench.util.terminal import is_terminal

if TYPE_CHECKING:
    from bench.cell.job import Job
    from bench.cell.result import CellResult
    from bench.interfaces.metric import Metric
    from bench.scoring.rows import Value

COLUMNS: Mapping[str, tuple[tuple[str, ...], str]] = {
    # `caption` describes the true picture; the ceiling is the true prompt truncated to the length
    # of the text encoder.
    PROMPT: ((TYPICAL, "random", NEAREST, "caption"), "cut truth"),
    ATTRIBUTE: ((MAJORITY, "random", NEAREST, SHUFFLED), "true picture"),
    IDENTITY: (("random", SHUFFLED), "true picture"),
}
"""Controls and the name of the ceiling by target, for targets that are not pictures."""

WIDTH = 112
"""Number of characters in a line of the widest table."""


def print_result(job: Job, result: CellResult, results: Path) -> None:
    """Print a table for each target, then utility, costs and the paths of the files."""
    console = Console(highlight=False, markup=False)
    if not is_terminal(sys.stdout) and "COLUMNS" not in os.environ:
        console.width = max(console.width, WIDTH)  # lines of a file need no folding
    cell = job.cell
    defense = "+".join(d.label for d in cell.capture.defense)
    victim = f"{cell.capture.victim.label}, {cell.capture.protocol}"
    console.print(f"\n{cell.attack.attack.label} against {defense}  ({victim})", style="bold")
    if result.reused:
        console.print(
            f"capture {cell.capture.content_hash()[:16]} reused (--fresh trains it again)"
        )
    for row in result.rows:
        target = str(row["target"])
        if row["status"] != "ok":
            console.print(f"{target}: {row['status']}: {row['reason']}")
            continue
        _print_target(console, target, row, job.metrics)
        if row["flags"]:
            console.print(f"  flags: {row['flags']}")
        for line in _notes(row, job.metrics):
            console.print(line, soft_wrap=True)
    first = result.rows[0]
    labels = {k: v for k, v in first.items() if k.startswith("label_") and isinstance(v, float)}
    if labels:
        console.print(
            "labels   " + "  ".join(f"{k} {v:.3f}" for k, v in labels.items()), soft_wrap=True
        )
    if result.utility:
        # The row has the standard errors too.
        utility = {k: v for k, v in result.utility.items() if not k.endswith("_se")}
        console.print(
            "utility  " + "  ".join(f"{k} {v:.3f}" for k, v in utility.items()), soft_wrap=True
        )
    if first.get("bytes_up") is not None:
        console.print(
            f"costs    {first['bytes_up']:,.0f} bytes up, {first['bytes_down']:,.0f} down "
            "for each record and step; "
            f"loss {first['loss_first']:.4f} to {first['loss_last']:.4f} in {first['steps']} steps",
            soft_wrap=True,
        )
    read = first["channels_read"] or "nothing"
    console.print(f"view     read {read}; guarantee {first['guarantee']}", soft_wrap=True)
    if cell.capture.model == "pocket":
        console.print(
            "scale    pocket: the embedded model; says nothing about Stable Diffusion",
            soft_wrap=True,
        )
    console.print(f"row      {results / 'rows.csv'}, cell {cell.cell_id}", soft_wrap=True)
    if result.picture is not None:
        console.print(f"picture  {result.picture}", soft_wrap=True)


def _print_target(
    console: Console, target: str, row: Mapping[str, Value], metrics: Sequence[Metric]
) -> None:
    """Print the metrics of a target as a table, or as paragraphs where the screen is too narrow."""
    title = f"{target}, {row['n']} records (↓: lower is closer to the truth)"
    controls, ceiling = COLUMNS.get(target, (("mean", "random", NEAREST), "round trip"))
    heads = (*controls, "ATTACK", "95 % interval", ceiling, "normalized")
    measured = [(metric.name, metric.higher_is_closer) for metric in metrics]
    if target == LINK:
        measured = [
            (name.removesuffix("_normalized"), True) for name in row if name.endswith("_normalized")
        ]
    lines = [
        (n + ("" if higher else " ↓"), _values(n, row, controls))
        for n, higher in measured
        if n in row
    ]
    for close in (False, True):
        table = _table(title, heads, lines, close=close)
        if (
            console.measure(table, options=console.options.update(width=10 * WIDTH)).maximum
            <= console.width
        ):
            console.print(table)
            return
    console.print(f"\n{title}", style="bold")
    for name, values in lines:
        console.print(
            f"  {name}: "
            + ", ".join(f"{head} {value}" for head, value in zip(heads, values, strict=True))
        )


def _table(
    title: str, heads: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]], *, close: bool
) -> Table:
    """Return a table with a line for each metric; ``close`` is for narrow screens."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=not close
    )
    table.padding = 0 if close else (0, 1)
    table.add_column("metric", no_wrap=True)
    for head in heads:
        style = "bold" if head == "ATTACK" else None
        parts = head.rpartition(" ") if close else ("", "", head)
        table.add_column(
            "\n".join(filter(None, parts[::2])), justify="right", no_wrap=True, style=style
        )
    for name, values in lines:
        table.add_row(name, *values)
    return table


def _notes(row: Mapping[str, Value], metrics: Sequence[Metric]) -> list[str]:
    """Return lines on the uncertainty of thresholds, and on metrics without a value."""
    lines = []
    for name in (metric.name for metric in metrics):
        if f"{name}_threshold" in row:
            at = {
                end: _figure(row[f"{name}_{end}"])
                for end in ("threshold", "threshold_low", "threshold_high")
            }
            ends = [_figure(row[f"{name}_at_threshold_{end}"]) for end in ("high", "low")]
            lines.append(
                f"  {name}: threshold {at['threshold']}, 95 % interval {at['threshold_low']} .. "
                f"{at['threshold_high']}, within which {name} is {ends[0]} .. {ends[1]}"
            )
        if f"{name}_reason" in row:
            lines.append(f"  {name}: no value: {row[f'{name}_reason']}")
    return lines


def _values(name: str, row: Mapping[str, Value], controls: Sequence[str]) -> list[str]:
    """Return the cells of a metric: controls, score, interval, ceiling and normalized score."""
    return [
        *(_figure(row.get(f"{name}_{control}")) for control in controls),
        _figure(row[name]),
        f"{_figure(row[f'{name}_low'])} .. {_figure(row[f'{name}_high'])}",
        _figure(row[f"{name}_ceiling"]),
        _figure(row[f"{name}_normalized"]),
    ]


def _figure(value: Value) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"
