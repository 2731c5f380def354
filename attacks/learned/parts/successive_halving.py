"""Successive halving: many settings are trained briefly, and the better half continues.

After Jamieson and Talwalkar (arXiv:1502.07943). Survivors keep what they have learned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Trainable(Protocol):
    """Something that can be trained in portions."""

    def train(self, iterations: int) -> None: ...


T = TypeVar("T", bound=Trainable)


def rungs(candidates: int, budget: int, share: float) -> tuple[int, int]:
    """Return how long each survivor trains per rung, and how long the winner trains in all.

    The total is ``budget``, whatever is spent on the candidates that are dropped.

    Args:
        candidates: how many candidates there are at first.
        budget: iterations in all.
        share: share of the budget that dropped candidates may take.
    """
    losers, remaining = 0, candidates
    rung = 0
    while remaining > 1:  # a candidate that is dropped after rung k has trained k rungs
        rung += 1
        losers += rung * (remaining - remaining // 2)
        remaining //= 2
    if not losers:
        return 0, budget
    portion = int(budget * share) // losers
    return portion, budget - portion * losers


def halve(candidates: Sequence[T], portion: int, loss: Callable[[T], float]) -> T:
    """Train all candidates by a portion, drop the worse half, and repeat until one remains.

    Of candidates with equal loss the first stays.
    """
    remaining = list(candidates)
    while len(remaining) > 1:
        for candidate in remaining:
            candidate.train(portion)
        remaining = sorted(remaining, key=loss)[: len(remaining) // 2]
    return remaining[0]
