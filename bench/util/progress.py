"""Progress bars, behind an interface that a test or a script can replace."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from bench.util.terminal import is_terminal

Advance = Callable[[int], None]

INTERVAL = 30.0
"""Seconds between two lines of progress where there is no terminal."""


class Progress(Protocol):
    """Receives reports of how far long work is."""

    def stage(self, name: str, total: int) -> Stage:
        """Begin a stage of ``total`` steps."""

    def note(self, text: str) -> None:
        """Print one line that stays on the screen."""


class Stage(Protocol):
    """A stage of work: a context manager that yields ``advance(n)``."""

    def __enter__(self) -> Advance: ...

    def __exit__(self, *exc: object) -> None: ...


class Silent:
    """Discards all reports."""

    @contextmanager
    def _bar(self) -> Iterator[Advance]:
        yield lambda n: None

    def stage(self, name: str, total: int) -> Stage:
        """Begin a stage without output."""
        return self._bar()  # type: ignore[return-value]

    def note(self, text: str) -> None:
        """Discard the line."""
        return None


def terminal_progress() -> Progress:
    """Return bars where standard error is a terminal, else a line every half minute."""
    return Bars() if is_terminal(sys.stderr) else Lines(sys.stderr)


class Lines:
    """Plain lines for log files: notes, and the state of the work every ``interval`` seconds.

    Args:
        stream: where lines are written; None writes nothing.
        interval: seconds between two lines, also while a single step takes longer.
    """

    def __init__(self, stream: TextIO | None, interval: float = INTERVAL) -> None:
        self._stream, self._interval = stream, interval
        self._last = time.monotonic()
        self._lock = threading.Lock()

    @contextmanager
    def _lines(self, name: str, total: int) -> Iterator[Advance]:
        begin, done, ended = time.monotonic(), 0, threading.Event()

        def advance(n: int) -> None:
            nonlocal done
            done += n

        def tell() -> None:
            while not ended.wait(self._last + self._interval - time.monotonic()):
                self._write(f"{name}: {done}/{total} after {time.monotonic() - begin:.0f} s")

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield advance
        finally:
            ended.set()
            teller.join()

    def stage(self, name: str, total: int) -> Stage:
        """Begin a stage that prints its state at intervals."""
        return self._lines(name, total)  # type: ignore[return-value]

    def note(self, text: str) -> None:
        """Print one line."""
        self._write(text)

    def _write(self, text: str) -> None:
        with self._lock:
            self._last = time.monotonic()
            if self._stream is not None:
                print(text, file=self._stream, flush=True)


class Bars:
    """Rich progress bars on standard error."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    @contextmanager
    def _bar(self, name: str, total: int) -> Iterator[Advance]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self._console) as bar:
            task = bar.add_task(name, total=total)
            yield lambda n: bar.advance(task, n)

    def stage(self, name: str, total: int) -> Stage:
        """Begin a stage with a bar."""
        return self._bar(name, total)  # type: ignore[return-value]

    def note(self, text: str) -> None:
        """Print one line above the bars."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
