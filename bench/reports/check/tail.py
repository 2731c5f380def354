"""Tests whether single records lost their privacy while the mean hardly changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, median

TAIL_DEGREES = 5
"""Degrees of freedom of Student's t, whose tail is heavier than that of harmless changes."""
_EXPOSED = 0.5


@dataclass(frozen=True)
class Tail:
    """The change of the worst record, and the number of records that are newly identified.

    Attributes:
        record: name of the record whose score rose most.
        jump: its rise minus the median rise.
        jump_p: one-sided p-value of "no record rose by more than harmless changes do".
        exposed: number of records above the identification threshold now and not before.
        hidden: number of records above the identification threshold before and not now.
        exposed_p: one-sided p-value of "records are exposed no more often than hidden".
    """

    record: str
    jump: float
    jump_p: float
    exposed: int
    hidden: int
    exposed_p: float


def tail_of(
    changes: Mapping[str, float],
    identified_before: Mapping[str, float],
    identified_now: Mapping[str, float],
    *,
    binary: bool = False,
) -> Tail:
    """Return the tail of one comparison.

    Args:
        changes: the rise of the score of each record; at least two records.
        identified_before: 1 for records above the identification threshold before; may be empty.
        identified_now: 1 for records above the identification threshold now; may be empty.
        binary: whether scores are 0 or 1; all changes are equally large then, and their number is
            tested instead.
    """
    record = max(changes, key=lambda name: changes[name])
    middle = median(changes.values())
    both = [name for name in identified_before if name in identified_now]
    before = {name for name in both if identified_before[name] > _EXPOSED}
    now = {name for name in both if identified_now[name] > _EXPOSED}
    exposed, hidden = len(now - before), len(before - now)
    return Tail(
        record=record,
        jump=changes[record] - middle,
        jump_p=sign_p(*_signs(changes.values())) if binary else jump_p(list(changes.values())),
        exposed=exposed,
        hidden=hidden,
        exposed_p=sign_p(exposed, hidden),
    )


def _signs(changes: Iterable[float]) -> tuple[int, int]:
    """Return how many changes are positive and how many are negative."""
    listed = list(changes)
    return sum(change > 0.0 for change in listed), sum(change < 0.0 for change in listed)


def jump_p(changes: list[float]) -> float:
    """Return the one-sided p-value of "the largest change is as small as the others suggest".

    The scale of harmless changes is the root mean square distance to the median of the changes
    below it, which exposed records do not affect. The largest change over that scale is compared
    with Student's t with ``TAIL_DEGREES`` degrees of freedom, and the p-value is multiplied by the
    number of records (Bonferroni), since each could have been the largest.
    """
    middle = median(changes)
    jump = max(changes) - middle
    if jump <= 0.0:
        return 1.0
    below = [middle - change for change in changes if change < middle]
    scale = fmean(distance**2 for distance in below) ** 0.5 if below else 0.0
    if scale == 0.0:
        return 0.0
    from scipy.special import stdtr

    return min(1.0, len(changes) * float(stdtr(TAIL_DEGREES, -jump / scale)))


def sign_p(rose: int, fell: int) -> float:
    """Return the p-value of "records rise no more often than they fall" (McNemar's exact test)."""
    if not rose:
        return 1.0
    from scipy.stats import binom

    return float(binom.sf(rose - 1, rose + fell, 0.5))
