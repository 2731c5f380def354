"""What makes an attack stronger: the one number that buys success, and the values a curve over it is drawn at."""

from __future__ import annotations

from dataclasses import dataclass

BUDGET = ("iterations", "auxiliary")
"""Knobs that every attack has: optimiser steps, and records of the attacker's own."""


@dataclass(frozen=True)
class BudgetAxis:
    """The spending of an attack that its curve of success runs over.

    Attributes:
        knob: ``iterations`` or ``auxiliary`` as of the command line, or a parameter of the attack
            itself, such as a number of samples.
        values: rising; the last is at least the attack's default.
    """

    knob: str
    values: tuple[int, ...]

    @property
    def in_budget(self) -> bool:
        """Whether the knob is one of every attack, not a parameter of this one."""
        return self.knob in BUDGET
