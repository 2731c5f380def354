"""Defines the tasks, limits and interface of all engines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.cell.outcome import result_without_scores
from bench.cell.result import CellResult
from bench.cell.runner import Runner
from bench.planning.planner import Planner
from bench.settings.cell import CellSpec
from bench.util.errors import RequestError
from bench.util.failure import Failure, keep_trace
from bench.util.files import DiskFullError
from bench.util.progress import Progress


@dataclass(frozen=True)
class Task:
    """A cell to be run, small enough to be sent to another process or machine.

    Attributes:
        cell: the spec of the cell.
        split_hash: hash of the split manifest.
        fresh: train the capture again, even if it is stored.
    """

    cell: CellSpec
    split_hash: str
    fresh: bool = False

    @property
    def capture(self) -> str:
        """Return the id of the capture, which other tasks may share."""
        return self.cell.capture.content_hash()

    def encode(self) -> str:
        """Return the task as one line of JSON."""
        return json.dumps(
            {
                "cell": self.cell.model_dump(mode="json"),
                "split_hash": self.split_hash,
                "fresh": self.fresh,
            }
        )

    @staticmethod
    def decode(text: str) -> Task:
        """Return the task that ``encode`` wrote."""
        fields = json.loads(text)
        return Task(CellSpec.model_validate(fields["cell"]), fields["split_hash"], fields["fresh"])

    def failed(self, reason: str, *, status: str = "failed", seconds: float = 0.0) -> CellResult:
        """Return a result without scores, with the reason why the cell has none."""
        return result_without_scores(
            self.cell, status, reason, split_hash=self.split_hash, seconds=seconds
        )


@dataclass(frozen=True)
class Limits:
    """Limits of time and memory for one cell.

    Attributes:
        seconds: wall time including the training of the capture; None sets no limit.
        memory_mib: resident memory of the process and its children in MiB; None sets no limit.
    """

    seconds: float | None = None
    memory_mib: int | None = None


@dataclass(frozen=True)
class Setup:
    """Settings that all cells of a run share.

    Attributes:
        results: the results directory.
        weights_dir: directory of the user's backbone weights; None uses the embedded ones.
        threads: threads of each worker; rows store it, since it can change last digits.
        limits: limits of each cell.
    """

    results: Path
    weights_dir: Path | None
    threads: int
    limits: Limits


Report = Callable[[Task, CellResult], None]


class SuiteEngine(Protocol):
    """Runs tasks and reports each as it ends; a failed task does not stop the others."""

    def run(self, tasks: Sequence[Task], report: Report) -> None:
        """Run all tasks; tasks of one capture run in parallel only after it is trained.

        Args:
            tasks: the tasks, in the order of their start.
            report: called with each task and its result, in the thread of the caller.

        Raises:
            DiskFullError: the disk is full.
            RequestError: the engine cannot be started.
        """


def execute(task: Task, planner: Planner, setup: Setup, progress: Progress) -> CellResult:
    """Run a task in this process and return a result, also where the cell fails.

    Raises:
        DiskFullError: the disk is full.
    """
    start = time.perf_counter()
    try:
        job = planner.rebuild(task.cell, weights_dir=setup.weights_dir)
        if job.cell.cell_id != task.cell.cell_id:
            return task.failed(
                "code, data or model changed after the cell was planned; run it again"
            )
        return Runner(setup.results, progress).compute(job, fresh=task.fresh)
    except DiskFullError:
        raise
    except RequestError as error:
        return result_without_scores(
            task.cell, "not_applicable", str(error), split_hash=task.split_hash, refused=True
        )
    except (Exception, SystemExit) as error:
        reason = keep_trace(setup.results, task.cell.cell_id, Failure.from_error(error))
        return task.failed(reason, seconds=time.perf_counter() - start)
