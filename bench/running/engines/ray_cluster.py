"""Runs tasks on a Ray cluster or a local Ray; needs the extra ``ray``."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.cell.result import CellResult
from bench.running.engines.base import Limits, Report, Setup, Task
from bench.running.engines.pool import run_pool
from bench.running.engines.worker_process import WorkerProcess
from bench.util.errors import RequestError
from bench.util.files import DiskFullError


class RayEngine:
    """Runs tasks in ``jobs`` Ray actors, each of which starts a worker process.

    The worker process enforces limits and survives crashes as without Ray. The rows return to this
    process, which alone writes the ledger. Nodes that share the results directory share the
    captures; other nodes train their own. Every node needs the same installation.
    """

    def __init__(self, setup: Setup, jobs: int, address: str | None) -> None:
        self._setup, self._jobs, self._address = setup, jobs, address

    def run(self, tasks: Sequence[Task], report: Report) -> None:
        """Run all tasks; see :meth:`SuiteEngine.run`."""
        try:
            ray: Any = import_module("ray")  # may be absent, also for the type checker
        except ImportError as error:
            raise RequestError("the ray engine needs Ray: pip install 'splitleak[ray]'") from error
        jobs = min(self._jobs, len(tasks))
        options: dict[str, Any] = {}
        if self._address is None:
            # Ray starts workers at niceness 15, so any other process would slow them down.
            priority = {"worker_niceness": 0}
            cores = max(1, jobs * self._setup.threads)
            options = {"include_dashboard": False, "num_cpus": cores, "_system_config": priority}
        # Ray starts all workers in the current directory and adds it to their import path. The
        # user's directory may hold files with the names of our modules, so Ray gets an empty one.
        with tempfile.TemporaryDirectory(prefix="splitleak-ray-") as empty:
            try:
                self._connect(ray, options, empty)
                gpus = 0.0
                if any(task.cell.capture.device.startswith("cuda") for task in tasks):
                    gpus = min(1.0, float(ray.cluster_resources().get("GPU", 0.0)) / jobs)
                run_pool(
                    [_RemoteWorker(ray, self._setup, gpus) for _ in range(jobs)], tasks, report
                )
            finally:
                ray.shutdown()

    def _connect(self, ray: Any, options: dict[str, Any], empty: str) -> None:
        address = self._address or "local"
        try:
            with contextlib.chdir(empty):
                ray.init(
                    address=address, log_to_driver=False, logging_level=logging.ERROR, **options
                )
        except Exception as error:  # Ray raises plain exceptions too
            message = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RequestError(f"Ray cannot be reached at {address!r}: {message}") from error


class Actor:
    """Keeps one worker process on a node of the cluster."""

    def __init__(
        self,
        results: str,
        weights: str | None,
        threads: int,
        seconds: float | None,
        memory: int | None,
        directory: str,
    ) -> None:
        weights_dir = None if weights is None else Path(weights)
        setup = Setup(Path(results), weights_dir, threads, Limits(seconds, memory))
        # Other nodes may not have the working directory of the user.
        working_directory = Path(directory) if Path(directory).is_dir() else None
        self._worker = WorkerProcess(setup, lambda text: None, directory=working_directory)

    def execute(self, task: str) -> tuple[str, str]:
        """Return ``("result", JSON)`` or, where the disk is full, ``("full", sentence)``."""
        try:
            return "result", self._worker.execute(Task.decode(task)).encode()
        except DiskFullError as error:
            return "full", str(error)


class _RemoteWorker:
    """Calls an actor from this process."""

    def __init__(self, ray: Any, setup: Setup, gpus: float) -> None:
        self._ray, self._setup = ray, setup
        self._class = ray.remote(num_cpus=setup.threads, num_gpus=gpus)(Actor)
        self._actor: Any = None

    def execute(self, task: Task) -> CellResult:
        setup = self._setup
        if self._actor is None:
            weights = None if setup.weights_dir is None else str(setup.weights_dir.resolve())
            limits = (setup.limits.seconds, setup.limits.memory_mib)
            results, here = str(setup.results.resolve()), str(Path.cwd())
            self._actor = self._class.remote(results, weights, setup.threads, *limits, here)
        try:
            kind, text = self._ray.get(self._actor.execute.remote(task.encode()))
        except self._ray.exceptions.RayError as error:
            self._actor = None
            return task.failed(f"Ray lost the worker: {type(error).__name__}")
        if kind == "full":
            raise DiskFullError(text)
        return CellResult.decode(text)

    def stop(self) -> None:
        if self._actor is not None:
            self._ray.kill(self._actor)
