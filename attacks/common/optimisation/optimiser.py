"""What every optimiser of a batch of problems offers and returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Advance = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Value:
    """The objective at one point of each problem.

    Attributes:
        total: objective with priors, ``(T, R)``.
        match: without, ``(T, R)``.
        slope: of ``total``, ``(T, R, D)``.
    """

    total: Tensor
    match: Tensor
    slope: Tensor


class Problem(Protocol):
    """A batch of T problems with R restarts each, over points ``(T, R, D)``."""

    def clamp(self, point: Tensor) -> Tensor:
        """Return points ``(..., D)`` moved into the range of each input."""

    def evaluate(self, point: Tensor, rows: Tensor | None = None) -> Value:
        """Return objective and slope at ``(T, R, D)``.

        With ``rows`` at ``(len(rows), R, D)``, for those problems alone.
        """


@dataclass(frozen=True, eq=False)
class Minimum:
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

    def minimise(
        self, problem: Problem, start: Tensor, iterations: int, advance: Advance
    ) -> Minimum: ...
