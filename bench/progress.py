"""Progress bars, behind an interface that a test or a script can replace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """Where long work reports how far it is."""

    def stage(self, name: str, total: int) -> Stage: ...

    def note(self, text: str) -> None:
        """One line that stays on the screen."""


class Stage(Protocol):
    """A running bar; a context manager that yields ``advance(n)``."""

    def __enter__(self) -> Advance: ...

    def __exit__(self, *exc: object) -> None: ...


class Silent:
    """Reports nothing."""

    @contextmanager
    def _bar(self) -> Iterator[Advance]:
        yield lambda n: None

    def stage(self, name: str, total: int) -> Stage:
        return self._bar()  # type: ignore[return-value]

    def note(self, text: str) -> None:
        return None


class Bars:
    """Rich progress bars on standard error."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    @contextmanager
    def _bar(self, name: str, total: int) -> Iterator[Advance]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
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
        return self._bar(name, total)  # type: ignore[return-value]

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)
