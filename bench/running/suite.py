"""Runs a planned suite on an engine: skips what the ledger has, stores each cell as it ends, counts what came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.cell.job import Job
from bench.cell.result import CellResult
from bench.cell.runner import store, without_scores
from bench.ledger.ledger import Ledger
from bench.ledger.reader import CellEntry
from bench.planning.suite_plan import UNFINISHED, SuitePlan
from bench.running.engines.base import SuiteEngine, Task
from bench.util.errors import RequestError

Show = Callable[[Job, CellResult, int, int], None]


@dataclass(frozen=True)
class SuiteSummary:
    """What a run left in the ledger, for all cells of its plan.

    Attributes:
        statuses: cells by status.
        ran: how many were run this time.
    """

    statuses: Mapping[str, int]
    ran: int

    @property
    def unfinished(self) -> int:
        """Cells that failed, now or before."""
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
    """Run what is left of a plan.

    Args:
        show: is told of each cell as it ends: its job, its result, its number and how many there
            are.

    Raises:
        RequestError: every cell turned out to be a wrong request; nothing of them is stored.
        DiskFullError: nothing more can be stored; what is there is kept.
    """
    known = ledger.entries()
    todo = plan.remaining(known, fresh=fresh, retry_failed=retry_failed)
    jobs = {job.cell.cell_id: job for job in todo}
    statuses = Counter(_before(plan, known, jobs))
    refused: list[tuple[Job, CellResult]] = []
    count = 0

    def keep(job: Job, result: CellResult) -> None:
        nonlocal count
        count += 1
        store(ledger, job.cell, result)
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
            keep(job, without_scores(job.cell, "not_applicable", reason, split_hash=splits))
    tasks = _tasks([job for job in todo if not job.obstacle], fresh=fresh)
    if tasks:
        engine.run(tasks, report)
    if refused and len(refused) == len(plan.jobs):
        raise RequestError(str(refused[0][1].rows[0]["reason"]))
    for job, result in refused:
        keep(job, result)
    return SuiteSummary(dict(statuses), count)


def _before(plan: SuitePlan, known: Mapping[str, CellEntry], todo: Mapping[str, Job]) -> list[str]:
    """Statuses of the cells that are not run again."""
    return [known[job.cell.cell_id].status for job in plan.jobs if job.cell.cell_id not in todo]


def _tasks(jobs: list[Job], *, fresh: bool) -> list[Task]:
    """One task a cell; ``fresh`` trains a capture once, not once a cell."""
    begun: set[str] = set()
    tasks = []
    for job in jobs:
        task = Task(job.cell, job.splits.manifest_hash())
        if fresh and task.capture not in begun:
            task = Task(job.cell, job.splits.manifest_hash(), fresh=True)
        begun.add(task.capture)
        tasks.append(task)
    return tasks
