"""The parameter that makes an attack stronger, and its values on a curve of success over budget."""

from __future__ import annotations

from dataclasses import dataclass

BUDGET = ("iterations", "auxiliary")
"""Knobs that every attack has: optimizer steps, and the number of auxiliary records."""


@dataclass(frozen=True)
class BudgetAxis:
    """The parameter of an attack that ``bench run --curve`` sweeps.

    Attributes:
        knob: ``iterations`` or ``auxiliary``, as on the command line, or the name of a parameter of
            the attack, such as a number of samples.
        values: in rising order; the last value is at least the attack's default.
    """

    knob: str
    values: tuple[int, ...]

    @property
    def in_budget(self) -> bool:
        """Whether every attack has this knob, so that it is not a parameter of one attack alone."""
        return self.knob in BUDGET
