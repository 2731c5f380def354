"""Run a suite or a grid of options: plan it as a whole, run it on an engine, print as it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bench.cell.job import Job
from bench.cell.result import CellResult
from bench.cli.cell_lines import cell_line, known_results
from bench.cli.engine_choice import cores, default_jobs, guest_packages, make_engine
from bench.ledger.ledger import Ledger
from bench.ledger.reader import LedgerReader
from bench.planning.curve import curve_suite
from bench.planning.planner import Planner
from bench.planning.settings import Settings
from bench.planning.suite import find_suite, suite_of_options
from bench.planning.suite_plan import SuitePlan, describe_plan, plan_suite
from bench.reports.curve import curve_points, curve_table, draw_curves
from bench.reports.result_table import print_result
from bench.running.engines.base import Limits, Setup
from bench.running.suite import run_suite
from bench.util.errors import CellFailedError, RequestError
from bench.util.failure import log_file
from bench.util.files import write_text
from bench.util.progress import Lines, Progress, Silent, terminal_progress

_CURVE_COLUMNS = (
    *("attack", "defense", "view", "target", "metric", "knob", "value"),
    *("normalized", "low", "high", "seeds"),
)


@dataclass(frozen=True)
class Running:
    """How cells are run; None is the default of the suite, or of the machine.

    Attributes:
        results: the results directory.
        engine: ``serial``, ``processes`` or ``ray``.
        jobs: how many workers run side by side.
        threads: how many threads each worker computes with.
        address: of a Ray cluster.
        time_limit: seconds that a cell may take.
        memory_limit: MiB that the process of a cell may hold.
        fresh: run cells that the ledger holds again.
        retry_failed: run cells again that failed or ran out of time.
        dry_run: print the plan and stop.
        debug: print the traceback of a cell that failed.
    """

    results: Path
    engine: str | None = None
    jobs: int | None = None
    threads: int | None = None
    address: str | None = None
    time_limit: float | None = None
    memory_limit: int | None = None
    fresh: bool = False
    retry_failed: bool = False
    dry_run: bool = False
    debug: bool = False

    @property
    def alone(self) -> bool:
        """Whether this process can run the cells without workers."""
        return (
            self.jobs in (None, 1) and self.engine in (None, "serial") and self.memory_limit is None
        )


def run_options(
    axes: Mapping[str, Sequence[Any]],
    settings: Mapping[str, Any],
    weights_dir: Path | None,
    running: Running,
) -> None:
    """Run every combination of options, with a table for each.

    Without ``--jobs`` they run one after the other in this process, with the threads that torch
    takes by itself.

    Raises:
        BenchError: the request is wrong, or some cells failed.
    """
    progress = terminal_progress()
    planner = Planner(progress)
    plan = plan_suite(suite_of_options(axes, settings), planner, weights_dir=weights_dir)
    _run(plan, planner, weights_dir, running, progress, in_process=running.alone, tables=True)


def run_curve(
    axes: Mapping[str, Sequence[Any]],
    settings: Mapping[str, Any],
    weights_dir: Path | None,
    running: Running,
) -> None:
    """Run each attack at every value of its budget; write ``curve.csv`` and ``curve.png``.

    Raises:
        BenchError: the request is wrong, an attack has no budget to vary, or some cells failed.
    """
    progress = terminal_progress()
    planner = Planner(progress)
    plan = plan_suite(curve_suite(axes, settings), planner, weights_dir=weights_dir)
    _run(plan, planner, weights_dir, running, progress, in_process=running.alone, tables=False)
    if running.dry_run:
        return
    cells = {job.cell.cell_id for job in plan.jobs}
    rows = [row for row in Ledger(running.results, progress).rows() if row["cell_id"] in cells]
    points = curve_points(rows)
    if not points:
        raise RequestError("no cell of the curve has a score; their rows say why")
    table = curve_table(points)
    write_text(running.results / "curve.csv", table.to_csv(index=False))
    draw_curves(points, running.results / "curve.png")
    columns = table[list(_CURVE_COLUMNS)]
    click.echo(columns.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    click.echo(f"drawn in {running.results / 'curve.png'}")


def run_file(
    name: str, overrides: Mapping[str, Any], weights_dir: Path | None, running: Running
) -> None:
    """Run a suite, with a line for each cell.

    Without ``--jobs`` it takes all cores, in worker processes of one thread each.

    Args:
        overrides: settings that replace those of the suite.

    Raises:
        BenchError: the request is wrong, or some cells failed.
    """
    progress = terminal_progress()
    planner = Planner(progress)
    plan = plan_suite(
        find_suite(name), planner, overrides=Settings(**overrides), weights_dir=weights_dir
    )
    run_plan(plan, planner, weights_dir, running, progress)


def run_plan(
    plan: SuitePlan,
    planner: Planner,
    weights_dir: Path | None,
    running: Running,
    progress: Progress,
) -> None:
    """Run the cells of a suite that the ledger lacks, with a line for each cell.

    Raises:
        BenchError: some cells failed, or nothing more can be stored.
    """
    in_process = running.engine == "serial"
    _run(plan, planner, weights_dir, running, progress, in_process=in_process, tables=False)


def describe_suite(name: str) -> str:
    """Return lines about what a suite would run on an empty ledger."""
    plan = plan_suite(find_suite(name), Planner(terminal_progress()))
    return "\n".join(describe_plan(plan, {}, fresh=False, retry_failed=False, jobs=cores()))


def _run(
    plan: SuitePlan,
    planner: Planner,
    weights_dir: Path | None,
    running: Running,
    progress: Progress,
    *,
    in_process: bool,
    tables: bool,
) -> None:
    """Run a plan.

    Args:
        in_process: run in this process, unless a plugin of another package takes part.
        tables: print a table for each cell in place of a line.
    """
    import torch

    results, content = running.results, plan.suite.content
    jobs = 1 if in_process else running.jobs or default_jobs(plan, running.threads or 1)
    threads = running.threads or (torch.get_num_threads() if tables and in_process else 1)
    torch.set_num_threads(threads)  # of this process too: rows say how many there were
    again = {"fresh": running.fresh, "retry_failed": running.retry_failed}
    if running.dry_run:
        known = LedgerReader(results).entries() if (results / "ledger.sqlite").exists() else {}
        click.echo("\n".join(describe_plan(plan, known, **again, jobs=jobs)))
        return
    ledger = Ledger(results, progress)
    if not tables:
        click.echo("\n".join(describe_plan(plan, ledger.entries(), **again, jobs=jobs)))
    elif plan.merged:
        progress.note(f"{plan.merged} of the cells are the same as others; merged")
    limits = Limits(
        running.time_limit or content.time_limit, running.memory_limit or content.memory_limit
    )
    setup = Setup(results, weights_dir, threads, limits)
    guests = guest_packages(plan) if in_process and running.engine is None else ""
    if guests:
        progress.note(
            f"cells with plugins of {guests} run in a process that can be ended; "
            "--engine serial debugs them"
        )
    name = "serial" if in_process and not guests else running.engine or "processes"
    engine = make_engine(
        name, setup, running.jobs, jobs, running.address, planner=planner, progress=progress
    )

    def show(job: Job, result: CellResult, number: int, total: int) -> None:
        if tables:
            print_result(job, result, results)
        else:
            click.echo(cell_line(job, result, number, total))
        if running.debug and (log := log_file(results, job.cell.cell_id)).exists():
            click.echo(log.read_text(encoding="utf-8"), err=True)

    if tables:
        for job, result, number, total in known_results(plan, ledger, **again):
            click.echo(f"\ncell {job.cell.cell_id} is in the ledger already (--fresh runs it anew)")
            show(job, result, number, total)
    # Without a terminal a line must come now and then; workers print nothing themselves.
    waiting: Progress = progress if isinstance(progress, Lines) and not in_process else Silent()
    with waiting.stage("cells", len(plan.remaining(ledger.entries(), **again))) as advance:

        def show_and_count(job: Job, result: CellResult, number: int, total: int) -> None:
            show(job, result, number, total)
            advance(1)

        summary = run_suite(plan, engine, results, ledger, **again, show=show_and_count)
    if not tables:
        counts = ", ".join(f"{n} {status}" for status, n in summary.statuses.items())
        click.echo(f"{summary.ran} cells run; {counts}; rows in {results / 'rows.csv'}")
    if summary.unfinished:
        raise CellFailedError(
            f"{summary.unfinished} of the cells failed; their rows in {results / 'rows.csv'} "
            "say why, --retry-failed runs them again"
        )
