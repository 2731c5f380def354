"""Runs one cell after the other in this process, which is best for debugging."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.planning.planner import Planner
from bench.running.engines.base import Report, Setup, Task, execute
from bench.util.errors import RequestError
from bench.util.progress import Progress


class _TimeLimit(BaseException):
    """Raised at the time limit; no ``Exception``, so that no handler of a cell catches it."""


class SerialEngine:
    """Runs tasks in their order in this process.

    A time limit stops Python code only: a library that hangs and a killed process end the whole
    run. Worker processes avoid this.
    """

    def __init__(self, setup: Setup, planner: Planner, progress: Progress) -> None:
        self._setup, self._planner, self._progress = setup, planner, progress

    def run(self, tasks: Sequence[Task], report: Report) -> None:
        """Run all tasks; see :meth:`SuiteEngine.run`."""
        limits = self._setup.limits
        if limits.memory_mib is not None:
            raise RequestError("the serial engine cannot limit memory; use --engine processes")
        for task in tasks:
            try:
                with _alarm(limits.seconds):
                    result = execute(task, self._planner, self._setup, self._progress)
            except _TimeLimit:
                reason = f"not finished after {limits.seconds:g} s (time limit)"
                result = task.failed(reason, status="timeout", seconds=limits.seconds or 0.0)
            report(task, result)


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    """Raise ``_TimeLimit`` in this thread after ``seconds``."""
    if seconds is None:
        yield
        return
    if not hasattr(signal, "SIGALRM"):
        raise RequestError(
            "the serial engine has no time limit on this system; use --engine processes"
        )
    if threading.current_thread() is not threading.main_thread():
        raise RequestError(
            "the serial engine has a time limit in the main thread only; use --engine processes"
        )

    def stop(signum: int, frame: object) -> None:
        raise _TimeLimit

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
