"""Starts worker processes, each of which runs one cell at a time and may die."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import psutil

from bench.cell.result import CellResult
from bench.running.engines.base import Setup, Task
from bench.running.engines.stages import StageDisplay
from bench.util.failure import Failure, keep_trace
from bench.util.files import DiskFullError
from bench.util.import_path import child_environment

_POLL = 0.2  # seconds between checks of time and memory
_START = 600.0  # seconds a worker may take to import its libraries
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class WorkerProcess:
    """Starts a worker for a task, kills it at its limits, and starts another for the next task.

    Args:
        setup: the settings that all cells share.
        note: receives the lines that the worker prints for the user.
        stages: shows the progress of the worker; None shows nothing.
        directory: working directory of the worker, to which paths of models and data are relative;
            None is the current one.
    """

    def __init__(
        self,
        setup: Setup,
        note: Callable[[str], None],
        stages: StageDisplay | None = None,
        *,
        directory: Path | None = None,
    ) -> None:
        self._setup, self._note, self._stages, self._directory = setup, note, stages, directory
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 lives as long as this object
        self._stopped = threading.Event()
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._limit_reached: tuple[str, str] | None = None

    def execute(self, task: Task) -> CellResult:
        """Run a task and return a result, also where the worker dies or reaches a limit.

        Raises:
            DiskFullError: the worker could not store its files.
        """
        begin = time.monotonic()
        if self._process is None:
            self._start()
            if self._answer("ready", _START) is None:
                return self._failed_result(task, begin)
        begin = time.monotonic()
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # a dead worker gives no answer below
                process.stdin.write(task.encode().encode() + b"\n")
                process.stdin.flush()
        answer = self._answer("result", self._setup.limits.seconds)
        return self._failed_result(task, begin) if answer is None else CellResult.decode(answer)

    def stop(self) -> None:
        """Kill the worker and start no other; ``execute`` returns soon in its thread."""
        self._stopped.set()
        if self._process is not None:
            _kill_group(self._process)

    def _start(self) -> None:
        weights = self._setup.weights_dir
        # -P: the working directory is the user's, and must not be searched for our modules.
        command = [sys.executable, "-P", "-m", "bench.running.engines.worker"]
        command += [
            str(self._setup.results),
            str(self._setup.threads),
            "" if weights is None else str(weights),
        ]
        self._errors.truncate(0)
        self._errors.seek(0)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=self._directory,
            env=_environment(os.environ, self._setup.threads),
            # Ctrl-C reaches the parent alone, and a kill reaches all that the worker started.
            start_new_session=True,
        )
        self._lines = queue.Queue()
        # A thread reads the pipe, since Windows cannot wait for pipes with a time limit.
        if self._process.stdout is not None:
            threading.Thread(
                target=_pump, args=(self._process.stdout, self._lines), daemon=True
            ).start()
        if self._stopped.is_set():
            _kill_group(self._process)

    def _answer(self, kind_expected: str, limit: float | None) -> str | None:
        """Return the text of the next answer of a kind; None at a limit or after a death."""
        begin = looked = time.monotonic()
        self._limit_reached = None
        while True:
            line = self._line()
            if line is None:
                return None
            if line:
                kind, text = json.loads(line)
                if kind == kind_expected:
                    return str(text)
                if kind == "full":
                    raise DiskFullError(str(text))
                if kind == "note":
                    self._note(str(text))
                elif self._stages is not None:
                    self._stages.show(kind, str(text))
            # Limits are checked after lines too: a worker that never stops printing has limits.
            now = time.monotonic()
            if limit is not None and now - begin > limit:
                self._limit_reached = ("timeout", f"not finished after {limit:g} s (time limit)")
                return None
            if now - looked < _POLL:
                continue
            looked = now
            if self._too_big():
                memory = self._setup.limits.memory_mib
                self._limit_reached = (
                    "failed",
                    f"used more than {memory} MiB of memory (memory limit)",
                )
                return None

    def _line(self) -> bytes | None:
        """Return a whole line, empty bytes where none is there yet, or None at the end."""
        if self._process is None:
            return None
        try:
            line = self._lines.get(timeout=_POLL)
        except queue.Empty:
            return b"" if self._process.poll() is None else None
        if line is None:
            self._lines.put(None)  # later calls must see the end too
        return line

    def _too_big(self) -> bool:
        limit = self._setup.limits.memory_mib
        return (
            limit is not None
            and self._process is not None
            and _resident(self._process.pid) > limit * 2**20
        )

    def _failed_result(self, task: Task, begin: float) -> CellResult:
        """Stop the worker and return the result of a task that it did not finish."""
        status, reason = self._limit_reached or ("failed", self._death_reason(task))
        if self._stages is not None:
            self._stages.close()
        process, self._process = self._process, None
        if process is not None:
            _kill_group(process)
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
        return task.failed(reason, status=status, seconds=time.monotonic() - begin)

    def _death_reason(self, task: Task) -> str:
        """Return how the worker ended; its output is kept in the log of the cell."""
        if self._process is None or self._stopped.is_set():
            return "the worker was stopped"
        try:
            code = self._process.wait(timeout=5)  # its output may end a moment before it does
        except subprocess.TimeoutExpired:
            return "the worker closed its output"
        if code < 0:
            name = signal.Signals(-code).name
            return f"the worker was killed by {name}" + (
                "; out of memory?" if name == "SIGKILL" else ""
            )
        self._errors.seek(0)
        output = self._errors.read().decode(errors="replace").strip()
        reason = f"the worker ended with exit code {code}" + (
            f": {output.splitlines()[-1]}" if output else ""
        )
        return (
            keep_trace(self._setup.results, task.cell.cell_id, Failure(reason, output))
            if output
            else reason
        )


def _pump(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    """Put whole lines into the queue until the stream ends, and then None."""
    with stream:
        for line in stream:
            if line.endswith(b"\n"):
                lines.put(line)
    lines.put(None)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker and all processes that it started."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:  # Windows has no process groups that a signal reaches
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
            process.kill()
    process.wait()


def _environment(base: Mapping[str, str], threads: int) -> dict[str, str]:
    """Return the environment of a worker, which limits its threads to its share of the cores."""
    settings = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    return {**child_environment(base), **dict.fromkeys(_THREAD_VARIABLES, str(threads)), **settings}


def _resident(pid: int) -> int:
    """Return the resident memory of a process and its children in bytes."""
    total = 0
    try:
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            total += member.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total
