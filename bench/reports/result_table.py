"""Prints a result between its controls."""

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
    # Caption is of the true picture, and the ceiling is the true prompt as the text encoder takes
    # it.
    PROMPT: ((TYPICAL, "random", NEAREST, "caption"), "cut truth"),
    ATTRIBUTE: ((MAJORITY, "random", NEAREST, SHUFFLED), "true picture"),
    IDENTITY: (("random", SHUFFLED), "true picture"),
}
"""Controls and the name of the ceiling, of targets that are not pictures."""

WIDTH = 112
"""Columns that the widest table takes."""


def print_result(job: Job, result: CellResult, results: Path) -> None:
    """One table a target, then utility, costs and where the files are."""
    console = Console(highlight=False, markup=False)
    if not is_terminal(sys.stdout) and "COLUMNS" not in os.environ:
        console.width = max(console.width, WIDTH)  # a file has no edge at which lines would fold
    cell = job.cell
    defense = "+".join(d.label for d in cell.capture.defense)
    title = f"{cell.attack.attack.label} against {defense}  ({cell.capture.victim.label}, {cell.capture.protocol})"
    console.print(f"\n{title}", style="bold")
    if result.reused:
        console.print(f"capture {cell.capture.content_hash()[:16]} reused (--fresh trains anew)")
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
        shown = {
            k: v for k, v in result.utility.items() if not k.endswith("_se")
        }  # errors stand in the row
        console.print(
            "utility  " + "  ".join(f"{k} {v:.3f}" for k, v in shown.items()), soft_wrap=True
        )
    if first.get("bytes_up") is not None:
        console.print(
            f"costs    {first['bytes_up']:,.0f} bytes up, {first['bytes_down']:,.0f} down a record and step; "
            f"loss {first['loss_first']:.4f} to {first['loss_last']:.4f} in {first['steps']} steps",
            soft_wrap=True,
        )
    read = first["channels_read"] or "nothing"
    console.print(f"view     read {read}; guarantee {first['guarantee']}", soft_wrap=True)
    if cell.capture.model == "pocket":
        console.print(
            "scale    pocket: the embedded model; not a statement about Stable Diffusion",
            soft_wrap=True,
        )
    console.print(f"row      {results / 'rows.csv'}, cell {cell.cell_id}", soft_wrap=True)
    if result.picture is not None:
        console.print(f"picture  {result.picture}", soft_wrap=True)


def _print_target(
    console: Console, target: str, row: Mapping[str, Value], metrics: Sequence[Metric]
) -> None:
    """A table of the target's metrics, or, where the screen is too narrow for one, a paragraph for each."""
    title = f"{target}, {row['n']} records (↓: lower is closer to the truth)"
    controls, ceiling = COLUMNS.get(target, (("mean", "random", NEAREST), "round trip"))
    heads = (*controls, "ATTACK", "95 % interval", ceiling, "normalized")
    shown = [(metric.name, metric.higher_is_closer) for metric in metrics]
    if target == LINK:
        shown = [
            (name.removesuffix("_normalized"), True) for name in row if name.endswith("_normalized")
        ]
    lines = [
        (n + ("" if higher else " ↓"), _values(n, row, controls)) for n, higher in shown if n in row
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
    """One line a metric; ``close`` for narrow screens, with heads of two lines."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=not close
    )
    table.padding = 0 if close else (0, 1)
    table.add_column("metric", no_wrap=True)
    for head in heads:
        style = "bold" if head == "ATTACK" else None
        words = head.rpartition(" ") if close else ("", "", head)
        table.add_column(
            "\n".join(filter(None, words[::2])), justify="right", no_wrap=True, style=style
        )
    for name, values in lines:
        table.add_row(name, *values)
    return table


def _notes(row: Mapping[str, Value], metrics: Sequence[Metric]) -> list[str]:
    """What a metric's threshold leaves open, and why a metric has no value."""
    lines = []
    for name in (metric.name for metric in metrics):
        if f"{name}_threshold" in row:
            at = {
                end: _shown(row[f"{name}_{end}"])
                for end in ("threshold", "threshold_low", "threshold_high")
            }
            ends = [_shown(row[f"{name}_at_threshold_{end}"]) for end in ("high", "low")]
            lines.append(
                f"  {name}: threshold {at['threshold']}, 95 % interval {at['threshold_low']} .. "
                f"{at['threshold_high']}, within which {name} is {ends[0]} .. {ends[1]}"
            )
        if f"{name}_reason" in row:
            lines.append(f"  {name}: no value: {row[f'{name}_reason']}")
    return lines


def _values(name: str, row: Mapping[str, Value], controls: Sequence[str]) -> list[str]:
    """One metric's cells: controls, score, interval, ceiling and normalized score."""
    return [
        *(_shown(row.get(f"{name}_{control}")) for control in controls),
        _shown(row[name]),
        f"{_shown(row[f'{name}_low'])} .. {_shown(row[f'{name}_high'])}",
        _shown(row[f"{name}_ceiling"]),
        _shown(row[f"{name}_normalized"]),
    ]


def _shown(value: Value) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"
