"""How functions of the API report: warnings, and bars where they are asked for."""

from __future__ import annotations

import warnings

from bench.util.progress import Progress, Silent, terminal_progress


class Warnings(Silent):
    """Shows no stages, and hands notes on as Python warnings."""

    def note(self, text: str) -> None:
        """Warn with a note."""
        warnings.warn(text, UserWarning, stacklevel=2)


def progress_of(show: bool) -> Progress:
    """Return bars or lines on standard error, or warnings alone.

    Args:
        show: show the stages of the work.
    """
    return terminal_progress() if show else Warnings()
