"""Runs tasks in worker processes on this machine."""

from __future__ import annotations

from collections.abc import Sequence

from bench.running.engines.base import Report, Setup, Task
from bench.running.engines.pool import run_pool
from bench.running.engines.stages import StageDisplay
from bench.running.engines.worker_process import WorkerProcess
from bench.util.progress import Progress


class ProcessEngine:
    """Runs tasks in ``jobs`` worker processes in parallel.

    A worker that dies, hangs or exceeds its memory fails the cell that it runs; another worker
    replaces it.
    """

    def __init__(self, setup: Setup, jobs: int, progress: Progress) -> None:
        self._setup, self._jobs, self._progress = setup, jobs, progress

    def run(self, tasks: Sequence[Task], report: Report) -> None:
        """Run all tasks; see :meth:`SuiteEngine.run`."""
        jobs = min(self._jobs, len(tasks))
        # The progress bars of several cells at once would flicker.
        stages = StageDisplay(self._progress) if jobs == 1 else None
        workers = [WorkerProcess(self._setup, self._progress.note, stages) for _ in range(jobs)]
        run_pool(workers, tasks, report)
