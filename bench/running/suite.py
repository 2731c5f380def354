"""Runs the cells of a planned suite that the ledger lacks, and stores each as it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.cell.job import Job
from bench.cell.outcome import result_without_scores
from bench.cell.result import CellResult
from bench.ledger.ledger import Ledger
from bench.ledger.reader import CellEntry
from bench.planning.suite_plan import UNFINISHED, SuitePlan
from bench.running.engines.base import SuiteEngine, Task
from bench.util.errors import RequestError

Show = Callable[[Job, CellResult, int, int], None]


@dataclass(frozen=True)
class SuiteSummary:
    """The state of all cells of a plan after a run.

    Attributes:
        statuses: number of cells by status.
        ran: number of cells that this run executed.
    """

    statuses: Mapping[str, int]
    ran: int

    @property
    def unfinished(self) -> int:
        """Return the number of cells that failed, in this run or before."""
        return sum(self.statuses.get(status, 0) for status in UNFINISHED)


def run_suite(
    plan: SuitePlan,
    engine: SuiteEngine,
    results: Path,
    ledger: Ledger,
    *,
    fresh: bool,
    retry_failed: bool,
    show: Show,
) -> SuiteSummary:
    """Run the cells of a plan that the ledger does not have.

    Args:
        plan: the jobs of the suite.
        engine: runs the tasks.
        results: the results directory.
        ledger: its ledger.
        fresh: run all cells, and train each capture once again.
        retry_failed: run cells that failed before.
        show: called with the job, the result, the number and the count of cells as each cell ends.

    Raises:
        RequestError: every cell was refused as a wrong request; none of them is stored.
        DiskFullError: the disk is full; the cells stored so far are kept.
    """
    entries = ledger.entries()
    todo = plan.remaining(entries, fresh=fresh, retry_failed=retry_failed)
    jobs = {job.cell.cell_id: job for job in todo}
    statuses = Counter(_kept_statuses(plan, entries, jobs))
    refused: list[tuple[Job, CellResult]] = []
    count = 0

    def keep(job: Job, result: CellResult) -> None:
        nonlocal count
        count += 1
        result.store(ledger, job.cell)
        statuses[result.status] += 1
        show(job, result, count, len(todo))

    def report(task: Task, result: CellResult) -> None:
        job = jobs[task.cell.cell_id]
        if result.refused:
            refused.append((job, result))
        else:
            keep(job, result)

    for job in todo:
        if job.obstacle:
            reason, splits = job.obstacle, job.splits.manifest_hash()
            keep(job, result_without_scores(job.cell, "not_applicable", reason, split_hash=splits))
    tasks = _tasks([job for job in todo if not job.obstacle], fresh=fresh)
    if tasks:
        engine.run(tasks, report)
    if refused and len(refused) == len(plan.jobs):
        raise RequestError(str(refused[0][1].rows[0]["reason"]))
    for job, result in refused:
        keep(job, result)
    return SuiteSummary(dict(statuses), count)


def _kept_statuses(
    plan: SuitePlan, entries: Mapping[str, CellEntry], todo: Mapping[str, Job]
) -> list[str]:
    """Return the statuses of the cells that are not run again."""
    return [entries[job.cell.cell_id].status for job in plan.jobs if job.cell.cell_id not in todo]


def _tasks(jobs: list[Job], *, fresh: bool) -> list[Task]:
    """Return one task for each cell; ``fresh`` trains each capture once, not once for each cell."""
    begun: set[str] = set()
    tasks = []
    for job in jobs:
        task = Task(job.cell, job.splits.manifest_hash())
        if fresh and task.capture not in begun:
            task = Task(job.cell, job.splits.manifest_hash(), fresh=True)
        begun.add(task.capture)
        tasks.append(task)
    return tasks
