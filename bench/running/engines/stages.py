"""Progress bars of a worker process, shown by its parent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.util.progress import Advance, Progress, Silent, Stage

KINDS = frozenset({"stage", "advance", "end"})
"""Kinds of messages about stages."""


class StageSender(Silent):
    """A worker's side: sends stages and notes as messages.

    Args:
        send: takes the kind of a message and its text.
    """

    def __init__(self, send: Callable[[str, str], None]) -> None:
        self._send = send

    def note(self, text: str) -> None:
        self._send("note", text)

    def stage(self, name: str, total: int) -> Stage:
        return self._send_stage(name, total)  # type: ignore[return-value]

    @contextmanager
    def _send_stage(self, name: str, total: int) -> Iterator[Advance]:
        self._send("stage", json.dumps([name, total]))
        try:
            yield lambda n: self._send("advance", str(n))
        finally:
            self._send("end", "")


class StageDisplay:
    """A parent's side: shows the stages of one worker."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._open: list[tuple[Stage, Advance]] = []

    def show(self, kind: str, text: str) -> None:
        """Take one message of ``KINDS``."""
        if kind == "stage":
            name, total = json.loads(text)
            stage = self._progress.stage(str(name), int(total))
            self._open.append((stage, stage.__enter__()))
        elif self._open and kind == "advance":
            self._open[-1][1](int(text))
        elif self._open:
            self._open.pop()[0].__exit__(None, None, None)

    def close(self) -> None:
        """End what a worker that is gone has left open."""
        while self._open:
            self._open.pop()[0].__exit__(None, None, None)
