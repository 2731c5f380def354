"""Which releases are said to be of one record, and how far that is true."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Links:
    """A claim about the releases of a view, in its order: those with the same label are of one
    record.

    Attributes:
        labels: one a release.
    """

    labels: tuple[int, ...]
