"""Decides by how much the fields of a reproduced row may differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.reports.processor_tolerance import Difference, measured_tolerance

EXACT = 1e-6
"""Allowed difference on one processor, relative to the number (absolute below 1)."""
DERIVED = ("flags",)
"""Fields that depend on last digits, and may differ wherever those may differ."""


@dataclass(frozen=True)
class Mismatch:
    """A field whose value differs from the stored one.

    Attributes:
        target: the target of the row.
        field: name of the field.
        stored: the value in the row.
        recomputed: the value of the new run.
        excess: difference as a multiple of the allowed one; infinite where a value is no number.
    """

    target: str
    field: str
    stored: object
    recomputed: object
    excess: float = math.inf

    def __str__(self) -> str:
        return f"{self.target} {self.field}: {self.stored!r} in the row, {self.recomputed!r} now"


@dataclass(frozen=True)
class FieldTolerance:
    """Decides by how much a field may differ."""

    tolerance: float | None
    other_processor: bool
    attack: str

    def split(
        self, compared: Sequence[tuple[str, str, object, object]]
    ) -> tuple[tuple[Mismatch, ...], tuple[Mismatch, ...]]:
        """Return the fields that differ by no more than allowed, and those that differ by more."""
        within, beyond = [], []
        for target, name, stored, now in compared:
            excess = self._excess(name, stored, now)
            if excess > 1.0:
                beyond.append(Mismatch(target, name, stored, now, excess))
            elif not _close(stored, now, EXACT):
                within.append(Mismatch(target, name, stored, now, excess))
        return tuple(within), tuple(beyond)

    def _excess(self, name: str, stored: object, now: object) -> float:
        """Return the difference of a field as a multiple of the allowed one."""
        tolerant = self.tolerance is None and self.other_processor
        exact = EXACT if self.tolerance is None else self.tolerance
        if _close(stored, now, exact) or (tolerant and name in DERIVED):
            return 0.0
        numbers = _as_numbers(stored, now)
        if numbers is None or not all(map(math.isfinite, numbers)):
            return math.inf
        before, after = numbers
        allowed = exact * max(1.0, abs(before))
        if tolerant:
            allowed = max(allowed, self._measured(name).allowed(before))
        return abs(before - after) / allowed if allowed else math.inf

    def _measured(self, name: str) -> Difference:
        return measured_tolerance().entry_for(name, self.attack)


def _close(stored: object, now: object, tolerance: float) -> bool:
    """Return whether two values agree as numbers, or as text where one is no number."""
    numbers = _as_numbers(stored, now)
    if numbers is None:
        return str(stored) == str(now)
    first, second = numbers
    return math.isclose(first, second, rel_tol=tolerance, abs_tol=tolerance) or (
        math.isnan(first) and math.isnan(second)
    )


def _as_numbers(stored: object, now: object) -> tuple[float, float] | None:
    try:
        return float(str(stored)), float(str(now))
    except ValueError:
        return None
