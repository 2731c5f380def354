"""What every optimiser of a batch of problems offers and gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from attacks.gradients.problem import Problem

Advance = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Found:
    """What an optimiser came to.

    Attributes:
        point: the best of each problem, ``(T, R, D)``.
        match: its objective without priors, ``(T, R)``.
        first: the same at the start.
    """

    point: Tensor
    match: Tensor
    first: Tensor


class Optimiser(Protocol):
    """Minimises a batch of problems from given points ``(T, R, D)``."""

    def minimise(self, problem: Problem, start: Tensor, iterations: int, advance: Advance) -> Found: ...
