"""Successive halving: many settings are tried briefly, the better half goes on, one is trained to
the end.

After Jamieson and Talwalkar (arXiv:1502.07943), with survivors keeping what they learned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Trainable(Protocol):
    """Something that can be trained in portions."""

    def train(self, iterations: int) -> None: ...


T = TypeVar("T", bound=Trainable)


def rungs(candidates: int, budget: int, share: float) -> tuple[int, int]:
    """How long each survivor trains a rung, and how long the winner trains in all.

    Whatever is spent on losers, the total is ``budget``.

    Args:
        share: of the budget that losers may take.
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
    """The one that is left when after every portion the worse half (the first of equals stays) has gone."""
    remaining = list(candidates)
    while len(remaining) > 1:
        for candidate in remaining:
            candidate.train(portion)
        remaining = sorted(remaining, key=loss)[: len(remaining) // 2]
    return remaining[0]
