"""Prints a result between its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.controls import MAJORITY, NEAREST, SHUFFLED, TYPICAL
from bench.targets import ATTRIBUTE, IDENTITY, LINK, PROMPT

if TYPE_CHECKING:
    from bench.measure import Metric
    from bench.planning import Job
    from bench.result import CellResult
    from bench.rows import Value

COLUMNS: Mapping[str, tuple[tuple[str, ...], str]] = {
    # Caption is of the true picture, and the ceiling is the true prompt as the text encoder takes it.
    PROMPT: ((TYPICAL, "random", NEAREST, "caption"), "cut truth"),
    ATTRIBUTE: ((MAJORITY, "random", NEAREST, SHUFFLED), "true picture"),
    IDENTITY: (("random", SHUFFLED), "true picture"),
}
"""Controls and the name of the ceiling, of targets that are not pictures."""


def print_result(job: Job, result: CellResult, results: Path) -> None:
    """One table a target, then utility, costs and where the files are."""
    console = Console(highlight=False)
    console.width = max(console.width, 112)  # narrower would fold the numbers, also where output is piped
    cell = job.cell
    defense = "+".join(d.label for d in cell.capture.defense)
    title = f"{cell.attack.attack.label} against {defense}  ({cell.capture.victim.label}, {cell.capture.protocol})"
    console.print(f"\n[bold]{title}[/bold]")
    if result.reused:
        console.print(f"capture {cell.capture.content_hash()[:16]} reused (--fresh trains anew)")
    for row in result.rows:
        target = str(row["target"])
        if row["status"] != "ok":
            console.print(f"{target}: {row['status']}: {row['reason']}")
            continue
        console.print(_target_table(target, row, job.metrics))
        if row["flags"]:
            console.print(f"  flags: {row['flags']}")
        for line in _notes(row, job.metrics):
            console.print(line, soft_wrap=True)
    first = result.rows[0]
    labels = {k: v for k, v in first.items() if k.startswith("label_") and isinstance(v, float)}
    if labels:
        console.print("labels   " + "  ".join(f"{k} {v:.3f}" for k, v in labels.items()), soft_wrap=True)
    if result.utility:
        shown = {k: v for k, v in result.utility.items() if not k.endswith("_se")}  # errors stand in the row
        console.print("utility  " + "  ".join(f"{k} {v:.3f}" for k, v in shown.items()), soft_wrap=True)
    if first.get("bytes_up") is not None:
        console.print(
            f"costs    {first['bytes_up']:,.0f} bytes up, {first['bytes_down']:,.0f} down a record and step; "
            f"loss {first['loss_first']:.4f} to {first['loss_last']:.4f} in {first['steps']} steps"
        )
    console.print(f"view     read {first['channels_read'] or 'nothing'}; guarantee {first['guarantee']}")
    if cell.capture.model == "pocket":
        console.print("scale    pocket: the embedded model; not a statement about Stable Diffusion")
    console.print(f"row      {results / 'rows.csv'}, cell {cell.cell_id}")
    if result.picture is not None:
        console.print(f"picture  {result.picture}")


def _target_table(target: str, row: Mapping[str, Value], metrics: Sequence[Metric]) -> Table:
    table = Table(
        title=f"{target}, {row['n']} records (↓: lower is closer to the truth)",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
    )
    table.add_column("metric", no_wrap=True)
    controls, ceiling = COLUMNS.get(target, (("mean", "random", NEAREST), "round trip"))
    for column in (*controls, "ATTACK", "95 % interval", ceiling, "normalised"):
        table.add_column(column, justify="right", no_wrap=True)
    shown = [(metric.name, metric.higher_is_closer) for metric in metrics]
    if target == LINK:
        shown = [(name.removesuffix("_normalized"), True) for name in row if name.endswith("_normalized")]
    for name, higher_is_closer in shown:
        if name not in row:
            continue
        table.add_row(
            name + ("" if higher_is_closer else " ↓"),
            *(_shown(row.get(f"{name}_{control}")) for control in controls),
            f"[bold]{_shown(row[name])}[/bold]",
            f"{_shown(row[f'{name}_low'])} .. {_shown(row[f'{name}_high'])}",
            _shown(row[f"{name}_ceiling"]),
            _shown(row[f"{name}_normalized"]),
        )
    return table


def _notes(row: Mapping[str, Value], metrics: Sequence[Metric]) -> list[str]:
    """What a metric's threshold leaves open, and why a metric has no value."""
    lines = []
    for name in (metric.name for metric in metrics):
        if f"{name}_threshold" in row:
            at = {end: _shown(row[f"{name}_{end}"]) for end in ("threshold", "threshold_low", "threshold_high")}
            ends = [_shown(row[f"{name}_at_threshold_{end}"]) for end in ("high", "low")]
            lines.append(
                f"  {name}: threshold {at['threshold']}, 95 % interval {at['threshold_low']} .. "
                f"{at['threshold_high']}, within which {name} is {ends[0]} .. {ends[1]}"
            )
        if f"{name}_reason" in row:
            lines.append(f"  {name}: no value: {row[f'{name}_reason']}")
    return lines


def _shown(value: Value) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"
