"""``bench run``: a suite or a grid of options, planned as a whole, run on an engine, shown as it goes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bench.cell.job import Job
from bench.cell.result import CellResult
from bench.cli.cell_lines import cell_line, known_results
from bench.ledger.ledger import Ledger
from bench.ledger.reader import LedgerReader
from bench.planning.curve import curve_suite
from bench.planning.planner import Planner
from bench.planning.settings import Settings
from bench.planning.suite import Suite, SuiteFile, block_of, find_suite
from bench.planning.suite_plan import SuitePlan, describe_plan, plan_suite
from bench.reports.curve import curve_points, curve_table, draw_curves
from bench.reports.result_table import print_result
from bench.running.engines.base import Engine, Limits, Setup
from bench.running.suite import run_suite
from bench.spec.guest_identity import guest_versions
from bench.util.errors import CellFailedError, RequestError
from bench.util.failure import log_file
from bench.util.files import write_text
from bench.util.progress import Lines, Progress, Silent, terminal_progress

ENGINES = ("serial", "processes", "ray")


@dataclass(frozen=True)
class Running:
    """How cells are run; None is the default of the suite, or of the machine.

    Attributes:
        jobs: workers side by side.
        threads: of each worker.
        address: of a Ray cluster.
        time_limit: seconds a cell.
        memory_limit: MiB a cell.
        debug: show the traceback of a cell that failed.
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
        """Whether nothing asks for workers beside this process."""
        return (
            self.jobs in (None, 1) and self.engine in (None, "serial") and self.memory_limit is None
        )


def suite_of_options(axes: Mapping[str, Sequence[Any]], settings: Mapping[str, Any]) -> Suite:
    """One block with every combination of the repeated options.

    Raises:
        RequestError: a setting is impossible.
    """
    return Suite("options", SuiteFile(blocks={"options": block_of(axes, settings)}))


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
    """Run each attack at every value of its effort; write ``curve.csv`` and ``curve.png`` beside
    the ledger.

    Raises:
        BenchError: the request is wrong, an attack has no effort to vary, or some cells failed.
    """
    progress = terminal_progress()
    planner = Planner(progress)
    plan = plan_suite(curve_suite(axes, settings), planner, weights_dir=weights_dir)
    _run(plan, planner, weights_dir, running, progress, in_process=running.alone, tables=False)
    if running.dry_run:
        return
    wanted = {job.cell.cell_id for job in plan.jobs}
    rows = [row for row in Ledger(running.results, progress).rows() if row["cell_id"] in wanted]
    points = curve_points(rows)
    if not points:
        raise RequestError("no cell of the curve has a score; their rows say why")
    table = curve_table(points)
    write_text(running.results / "curve.csv", table.to_csv(index=False))
    draw_curves(points, running.results / "curve.png")
    shown = table[
        [
            "attack",
            "defense",
            "view",
            "target",
            "metric",
            "knob",
            "value",
            "normalized",
            "low",
            "high",
            "seeds",
        ]
    ]
    click.echo(shown.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    click.echo(f"drawn in {running.results / 'curve.png'}")


def run_file(
    name: str, overrides: Mapping[str, Any], weights_dir: Path | None, running: Running
) -> None:
    """Run a suite, with a line for each cell.

    Without ``--jobs`` it takes all cores, in worker processes of one thread each.

    Args:
        overrides: settings that count before the suite's own.

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
    """Run what a suite's ledger lacks, with a line for each cell; raises as ``run_file``."""
    _run(
        plan,
        planner,
        weights_dir,
        running,
        progress,
        in_process=running.engine == "serial",
        tables=False,
    )


def describe_suite(name: str) -> str:
    """What a suite would run, on an empty ledger."""
    plan = plan_suite(find_suite(name), Planner(terminal_progress()))
    return "\n".join(describe_plan(plan, {}, fresh=False, retry_failed=False, jobs=_cores()))


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
    import torch

    results, content = running.results, plan.suite.content
    jobs = 1 if in_process else running.jobs or _default_jobs(plan, running.threads or 1)
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
    guests = _guests(plan) if in_process and running.engine is None else ""
    if guests:
        progress.note(
            f"cells with plugins of {guests} run in a process that can be ended; --engine serial debugs them"
        )
    name = "serial" if in_process and not guests else running.engine or "processes"
    engine = _engine(name, setup, jobs, running, planner, progress)

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
    # Without a terminal a line must come now and then; workers show nothing themselves.
    waiting: Progress = progress if isinstance(progress, Lines) and not in_process else Silent()
    with waiting.stage("cells", len(plan.remaining(ledger.entries(), **again))) as advance:

        def show_and_count(job: Job, result: CellResult, number: int, total: int) -> None:
            show(job, result, number, total)
            advance(1)

        summary = run_suite(plan, engine, results, ledger, **again, show=show_and_count)
    if not tables:
        counted = ", ".join(f"{n} {status}" for status, n in summary.statuses.items())
        click.echo(f"{summary.ran} cells run; {counted}; rows in {results / 'rows.csv'}")
    if summary.unfinished:
        raise CellFailedError(
            f"{summary.unfinished} of the cells failed; their rows in {results / 'rows.csv'} say why, "
            "--retry-failed runs them again"
        )


def _guests(plan: SuitePlan) -> str:
    """The packages of others that the plan's cells take plugins from, for a sentence; empty where there are none."""
    found = {
        package: version
        for job in plan.jobs
        for package, version in guest_versions(job.cell).items()
    }
    return ", ".join(f"{package} {version}" for package, version in sorted(found.items()))


def _engine(
    name: str, setup: Setup, jobs: int, running: Running, planner: Planner, progress: Progress
) -> Engine:
    if running.address is not None and name != "ray":
        raise RequestError(
            f"--address is of a Ray cluster; the engine is {name!r}, use --engine ray"
        )
    if name == "serial":
        from bench.running.engines.serial import SerialEngine

        if running.jobs not in (None, 1):
            raise RequestError("the serial engine has one job; use --engine processes for more")
        return SerialEngine(setup, planner, progress)
    if name == "processes":
        from bench.running.engines.processes import ProcessEngine

        return ProcessEngine(setup, jobs, progress)
    from bench.running.engines.ray_cluster import RayEngine

    return RayEngine(setup, jobs, running.address)


def _default_jobs(plan: SuitePlan, threads: int) -> int:
    """All cores; one job where the work is on a GPU."""
    on_cpu = all(job.cell.capture.device == "cpu" for job in plan.jobs)
    return max(1, _cores() // threads) if on_cpu else 1


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
