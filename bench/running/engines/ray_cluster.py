"""Workers on a Ray cluster, or on a local Ray. Needs the extra ``ray``."""

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
    """``jobs`` actors, each with a worker process beside it, so that limits and deaths work as they
    do without Ray.

    The rows come back to this process, which alone writes the ledger. Nodes that share the results
    directory share the captures; those that do not train their own. Every node needs the same
    installation.
    """

    def __init__(self, setup: Setup, jobs: int, address: str | None) -> None:
        self._setup, self._jobs, self._address = setup, jobs, address

    def run(self, tasks: Sequence[Task], report: Report) -> None:
        try:
            ray: Any = import_module("ray")  # may be absent, also for the type checker
        except ImportError as error:
            raise RequestError("the ray engine needs Ray: pip install 'splitleak[ray]'") from error
        jobs = min(self._jobs, len(tasks))
        options: dict[str, Any] = {}
        if self._address is None:
            # Ray starts workers at niceness 15, where another process of the user's starves them.
            quick = {"worker_niceness": 0}
            cores = max(1, jobs * self._setup.threads)
            options = {"include_dashboard": False, "num_cpus": cores, "_system_config": quick}
        # Ray puts the current directory on the import path of all workers, and starts them in it.
        # The user's may hold files with the names of our modules, so Ray gets an empty one.
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
        except Exception as error:  # Ray raises plain ones too
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RequestError(f"Ray cannot be reached at {address!r}: {said}") from error


class Actor:
    """Runs on the cluster; keeps one worker process."""

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
        there = (
            Path(directory) if Path(directory).is_dir() else None
        )  # other nodes need not have it
        self._worker = WorkerProcess(setup, lambda text: None, directory=there)

    def execute(self, task: str) -> tuple[str, str]:
        """``("result", ...)`` or, where the disk is full, ``("full", sentence)``."""
        try:
            return "result", self._worker.execute(Task.decode(task)).encode()
        except DiskFullError as error:
            return "full", str(error)


class _RemoteWorker:
    """This side of an actor."""

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
