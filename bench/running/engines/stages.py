"""Sends the progress of a worker process to its parent, which shows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.util.progress import Advance, Progress, Silent, Stage

KINDS = frozenset({"stage", "advance", "end"})
"""Kinds of messages about stages."""


class StageSender(Silent):
    """Sends stages and notes of a worker as messages.

    Args:
        send: sends a message, given its kind and text.
    """

    def __init__(self, send: Callable[[str, str], None]) -> None:
        self._send = send

    def note(self, text: str) -> None:
        """Send a line for the user."""
        self._send("note", text)

    def stage(self, name: str, total: int) -> Stage:
        """Send the start of a stage, and its end when the context ends."""
        return self._send_stage(name, total)  # type: ignore[return-value]

    @contextmanager
    def _send_stage(self, name: str, total: int) -> Iterator[Advance]:
        self._send("stage", json.dumps([name, total]))
        try:
            yield lambda n: self._send("advance", str(n))
        finally:
            self._send("end", "")


class StageDisplay:
    """Shows the stages of one worker in the parent process."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._open: list[tuple[Stage, Advance]] = []

    def show(self, kind: str, text: str) -> None:
        """Show a message whose kind is in ``KINDS``."""
        if kind == "stage":
            name, total = json.loads(text)
            stage = self._progress.stage(str(name), int(total))
            self._open.append((stage, stage.__enter__()))
        elif self._open and kind == "advance":
            self._open[-1][1](int(text))
        elif self._open:
            self._open.pop()[0].__exit__(None, None, None)

    def close(self) -> None:
        """End the stages that a dead worker did not end."""
        while self._open:
            self._open.pop()[0].__exit__(None, None, None)
