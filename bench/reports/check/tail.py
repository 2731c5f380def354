"""Whether single records lost their privacy where the mean hardly moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, median

TAIL_DEGREES = 5
"""Degrees of freedom of Student's t that stands for the tail of harmless changes: heavier than normal or Laplace."""
_EXPOSED = 0.5


@dataclass(frozen=True)
class Tail:
    """How much worse the worst record became, and how many records pass for themselves that did
    not.

    Attributes:
        record: the name of the record whose score rose most.
        jump: how far it rose, beyond what the median record did.
        jump_p: one-sided p-value of "no record rose by more than harmless changes do".
        exposed, hidden: records above the identification threshold now and not before, and the
            other way round.
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
    """The tail of one comparison.

    Args:
        changes: by record, how much its score rose; at least two records.
        identified_before, identified_now: 1 for records above the identification threshold; may be
            empty.
        binary: whether scores say yes or no only: there every change is as large as any, and only
            their number counts.
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
    """How many rose and how many fell."""
    listed = list(changes)
    return sum(change > 0.0 for change in listed), sum(change < 0.0 for change in listed)


def jump_p(changes: list[float]) -> float:
    """One-sided p-value of "the largest of these changes is no larger than the others lead to
    expect".

    The scale of harmless changes is the root mean square, about the median, of the changes below
    it: what exposes records does not enter. The largest change over that scale is held against
    Student's t with ``TAIL_DEGREES``, and the p-value is multiplied by the number of records
    (Bonferroni), since each could have been the largest.
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
    """One-sided p-value of "a record rises no more often than it falls": McNemar's exact test."""
    if not rose:
        return 1.0
    from scipy.stats import binom

    return float(binom.sf(rose - 1, rose + fell, 0.5))
