"""Distributes a list of tasks among several workers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Protocol

from bench.cell.result import CellResult
from bench.running.engines.base import Report, Task


class Worker(Protocol):
    """Runs one task at a time; ``stop`` may be called from another thread."""

    def execute(self, task: Task) -> CellResult:
        """Run a task and return its result."""

    def stop(self) -> None:
        """Stop the worker and the task that it runs."""


class CaptureQueue:
    """Hands out tasks; the other tasks of a capture wait until its first task has trained it."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._waiting = list(tasks)
        self._training: set[str] = set()
        self._trained: set[str] = set()
        self._changed = threading.Condition()

    def take(self) -> Task | None:
        """Return the next task that may start, or None when none is left; block until then."""
        with self._changed:
            while self._waiting:
                for i, task in enumerate(self._waiting):
                    if task.capture not in self._training:
                        if task.capture not in self._trained:
                            self._training.add(task.capture)
                        return self._waiting.pop(i)
                self._changed.wait()
            return None

    def done(self, task: Task) -> None:
        """Mark a task as finished, so that other tasks of its capture may start."""
        with self._changed:
            self._training.discard(task.capture)
            self._trained.add(task.capture)
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out no more tasks."""
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()


def run_pool(workers: Sequence[Worker], tasks: Sequence[Task], report: Report) -> None:
    """Run all tasks on all workers, and report results one at a time in this thread.

    Raises:
        BaseException: the first error that a worker raised or that interrupted this thread; all
            workers are stopped.
    """
    waiting = CaptureQueue(tasks)
    finished: queue.Queue[tuple[Task, CellResult] | BaseException] = queue.Queue()

    def work(worker: Worker) -> None:
        try:
            while (task := waiting.take()) is not None:
                result = worker.execute(task)
                finished.put((task, result))
                waiting.done(task)
        except BaseException as error:
            finished.put(error)

    threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        for _ in tasks:
            item = finished.get()
            if isinstance(item, BaseException):
                raise item
            report(*item)
    finally:
        waiting.close()
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join()
