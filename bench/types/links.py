"""Claims about which releases are of one record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Links:
    """A claim about all releases of a view: those with equal labels are of one record.

    Attributes:
        labels: one label per release, in the order of the view.
    """

    labels: tuple[int, ...]
