"""The data types of the privacy-utility frontier: qualities, leaks and points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.util.stats import Interval


@dataclass(frozen=True)
class Quality:
    """A quality of a defended model, as a share of the quality of the reference.

    Attributes:
        column: the column of a row with the quality.
        title: name of the quality in tables.
        goal: the share up to which the cost of a defence is acceptable.
        less_is_better: whether shares must be at most the goal, else at least.
    """

    column: str
    title: str
    goal: float
    less_is_better: bool = False

    def met(self, share: float) -> bool:
        """Return whether the share meets the goal."""
        return share <= self.goal if self.less_is_better else share >= self.goal

    def loss(self, share: float) -> float:
        """Return a number for comparisons; smaller is better."""
        return share if self.less_is_better else -share


QUALITIES = (
    Quality("utility_fid", "FID", 1.10, less_is_better=True),
    Quality("utility_condition_edge_f1", "edge F1", 0.95),
    Quality("utility_accuracy", "accuracy", 0.95),
)
"""FID and edge F1 (fidelity to the condition) of generators, accuracy of classifiers."""

LEARNED_QUALITY = QUALITIES[1]
"""The quality whose learned share is reported; FID changes too little in short trainings."""
UNTRAINED_RATE = 1e-8
"""Learning rate up to which a run counts as an untrained model."""
AT_CEILING = 0.995
"""A leak from which on missing attacks cannot find more."""
UNKNOWN = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Leak:
    """The result of the worst attack on one target.

    Attributes:
        attack: label of the attack.
        normalized: its score, 0 at the floor (no view) and 1 at the ceiling (the round trip).
        partial: why attacks may find more than this number; empty where they cannot, for example
            at the ceiling.
    """

    attack: str
    normalized: Interval
    partial: str

    @property
    def at_floor(self) -> bool:
        """Return whether the interval of a complete result reaches the floor."""
        return not self.partial and self.normalized.low <= 0.0


@dataclass(frozen=True)
class FrontierPoint:
    """One defence under one view.

    Attributes:
        view: the threat model, and what is withheld from it; then what else differs between tables
            of that view, such as how many records were attacked or how long training took.
        leaks: by target.
        costs: each quality that the victim has, of the reference's, seed by seed; NaN without a
            reference.
        learnt: how far from the untrained model (0) to the reference (1) condition fidelity has
            come; NaN unless the ledger has a run of the reference at a learning rate of at most
            ``UNTRAINED_RATE``.
        best: no other defence of the view leaks no more at no more cost.
        unproven: targets that the attacks do not get off the reference either, or that it was not
            attacked for: a floor there says nothing for a defence.
    """

    victim: str
    protocol: str
    view: str
    defense: str
    leaks: Mapping[str, Leak]
    costs: Mapping[Quality, Interval]
    seeds: int
    learned: Interval = UNKNOWN
    best: bool = False
    unproven: tuple[str, ...] = ()

    @property
    def table(self) -> tuple[str, str, str]:
        """Return victim, protocol and view, which all defences of a table share."""
        return self.victim, self.protocol, self.view

    @property
    def worst(self) -> float:
        """Return the highest leak over targets; a leak at the floor counts as 0."""
        return max(
            (0.0 if leak.at_floor else leak.normalized.mean for leak in self.leaks.values()),
            default=math.nan,
        )

    @property
    def complete(self) -> bool:
        """Return whether no leak is partial."""
        return all(not leak.partial for leak in self.leaks.values())

    @property
    def cheap(self) -> bool:
        """Return whether the means of all qualities meet their goals."""
        return all(quality.met(share.mean) for quality, share in self.costs.items())

    @property
    def reaches_goal(self) -> bool:
        """Return whether nothing leaks at acceptable cost, where attacks recover the reference."""
        return self.complete and self.cheap and self.worst == 0.0 and not self.unproven


def qualities_of(points: Sequence[FrontierPoint]) -> list[Quality]:
    """Return the qualities that at least one point has."""
    return [quality for quality in QUALITIES if any(quality in p.costs for p in points)]
