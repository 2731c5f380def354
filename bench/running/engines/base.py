"""What every engine takes and gives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.cell.result import CellResult
from bench.cell.runner import Runner, without_scores
from bench.planning.planner import Planner
from bench.spec.cell import CellSpec
from bench.util.errors import RequestError
from bench.util.failure import Failure, keep_trace
from bench.util.files import DiskFullError
from bench.util.progress import Progress


@dataclass(frozen=True)
class Task:
    """A cell to be run, small enough to be sent anywhere.

    Attributes:
        fresh: train its capture anew.
    """

    cell: CellSpec
    split_hash: str
    fresh: bool = False

    @property
    def capture(self) -> str:
        """What it shares with other tasks."""
        return self.cell.capture.content_hash()

    def encode(self) -> str:
        """As one line of JSON."""
        return json.dumps(
            {
                "cell": self.cell.model_dump(mode="json"),
                "split_hash": self.split_hash,
                "fresh": self.fresh,
            }
        )

    @staticmethod
    def decode(text: str) -> Task:
        """The inverse of ``encode``."""
        fields = json.loads(text)
        return Task(CellSpec.model_validate(fields["cell"]), fields["split_hash"], fields["fresh"])

    def failed(self, reason: str, *, status: str = "failed", seconds: float = 0.0) -> CellResult:
        """What is kept of this cell if it came to nothing."""
        return without_scores(
            self.cell, status, reason, split_hash=self.split_hash, seconds=seconds
        )


@dataclass(frozen=True)
class Limits:
    """What one cell may take.

    Attributes:
        seconds: wall time, the training of its capture included; None is no limit.
        memory_mib: resident memory of its process and their children; None is no limit.
    """

    seconds: float | None = None
    memory_mib: int | None = None


@dataclass(frozen=True)
class Setup:
    """What all cells of a run share.

    Attributes:
        weights_dir: the user's backbone weights.
        threads: of each worker; it is in the rows, and may matter for their last digits.
    """

    results: Path
    weights_dir: Path | None
    threads: int
    limits: Limits


Report = Callable[[Task, CellResult], None]


class SuiteEngine(Protocol):
    """Runs tasks and reports each as it ends; a task that fails costs no other."""

    def run(self, tasks: Sequence[Task], report: Report) -> None:
        """Run all tasks. Tasks of one capture do not start side by side until it is trained.

        Raises:
            DiskFullError: nothing more can be stored.
            RequestError: the engine cannot be started.
        """


def execute(task: Task, planner: Planner, setup: Setup, progress: Progress) -> CellResult:
    """Run a task in this process; what goes wrong is in the result.

    Raises:
        DiskFullError: nothing more can be stored.
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
        return without_scores(
            task.cell, "not_applicable", str(error), split_hash=task.split_hash, refused=True
        )
    except (Exception, SystemExit) as error:
        reason = keep_trace(setup.results, task.cell.cell_id, Failure.of(error))
        return task.failed(reason, seconds=time.perf_counter() - start)
