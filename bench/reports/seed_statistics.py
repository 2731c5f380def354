"""Scores by victim seed: what intervals and comparisons of defences are taken from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from bench.util.stats import Interval, StatsError, mean_bounds, mean_interval, p_above_zero

SEEDS = 3
"""From so many seeds on, the spread between training runs can be told at all."""


@dataclass(frozen=True)
class SeedScores:
    """One measure of one attack on one defence.

    Attributes:
        by_seed: each seed's score of each record by the record's name; where only the seed's mean
            is known, a single score under any name.
        drawn: of each seed, a fingerprint of the scored records, for ledgers that name them by
            position.
    """

    by_seed: Mapping[int, Mapping[str, float]]
    drawn: Mapping[int, str] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The victim seeds, sorted."""
        return tuple(sorted(self.by_seed))

    def values(self) -> list[float]:
        """All scores, seed after seed."""
        return [value for seed in self.seeds for value in self.by_seed[seed].values()]

    def clusters(self) -> list[int]:
        """The seed of every value."""
        return [seed for seed in self.seeds for _ in self.by_seed[seed]]

    def mean(self) -> float:
        """Over all records."""
        return fmean(self.values())

    def minus(self, other: SeedScores) -> SeedScores:
        """``self - other`` on the seeds that both have: record by record, or of the means where
        records differ.

        Raises:
            StatsError: they share no seed.
        """
        shared = sorted(set(self.by_seed) & set(other.by_seed))
        if not shared:
            raise StatsError("statistics: the two have no seed in common, so nothing pairs up")
        return SeedScores({seed: self._minus(other, seed) for seed in shared})

    def _minus(self, other: SeedScores, seed: int) -> dict[str, float]:
        one, two = self.by_seed[seed], other.by_seed[seed]
        if set(one) == set(two) and self.drawn.get(seed) == other.drawn.get(seed):
            return {record: value - two[record] for record, value in one.items()}
        return {"mean": fmean(one.values()) - fmean(two.values())}

    def interval(self, *, seed: int = 0, level: float = 0.95) -> Interval:
        """Of the mean, over seeds; over records where there is one seed."""
        return mean_interval(self.values(), clusters=self.clusters(), seed=seed, level=level)

    def p_above_zero(self) -> float:
        """One-sided, over seeds; over records where there is one seed."""
        return p_above_zero(self.values(), clusters=self.clusters())

    def p_above(self, other: SeedScores) -> float:
        """One-sided p-value of "the mean is not above the other's"; 1 where they share no seed."""
        if not set(self.by_seed) & set(other.by_seed):
            return 1.0
        return self.minus(other).p_above_zero()


@dataclass(frozen=True)
class WorstCase:
    """The attack with the highest mean, and an interval of the highest true mean."""

    attack: str
    interval: Interval


def worst_case(
    attacks: Mapping[str, SeedScores], *, seed: int = 0, level: float = 0.95
) -> WorstCase:
    """The strongest attack (higher is stronger), with bounds of ``max over attacks of the true
    mean``.

    Which attack wins is itself random, so the winner's own interval is too optimistic about what it
    measures: its lower end would be chosen after the fact. The lower end here is therefore the
    highest of lower bounds that hold for all attacks together (Bonferroni). The upper end needs no
    correction: the truly strongest attack's upper bound holds, and the highest one is no lower
    (Berger, Technometrics 1982).

    Raises:
        StatsError: there is no attack.
    """
    if not attacks:
        raise StatsError("statistics: a worst case needs at least one attack")
    tail = (1.0 - level) / 2.0
    bounds = {
        name: mean_bounds(
            scores.values(),
            clusters=scores.clusters(),
            seed=seed,
            tails=(tail / len(attacks), tail),
        )
        for name, scores in sorted(attacks.items())
    }
    winner = max(bounds, key=lambda name: bounds[name].mean)
    # A single value has no bounds; where the rest have some, they still say something of the
    # highest.
    lows = [b.low for b in bounds.values() if b.low == b.low]
    highs = [b.high for b in bounds.values()]
    return WorstCase(
        winner,
        Interval(
            bounds[winner].mean,
            max(lows) if lows else float("nan"),
            max(highs) if all(high == high for high in highs) else float("nan"),
        ),
    )


def p_worst_below(defended: Mapping[Any, SeedScores], reference: Mapping[Any, SeedScores]) -> float:
    """One-sided p-value of "the worst case of ``defended`` is not below that of ``reference``".

    It is below if *some* attack on the reference beats *every* attack on the defended: the largest
    p over the defended's attacks (intersection-union, Berger 1982), the smallest over the
    reference's (Bonferroni). No attack is picked by looking, so picking a winner costs nothing
    here. Compared pairwise by seed and record.

    Raises:
        StatsError: no attack on either.
    """
    if not defended or not reference:
        raise StatsError("statistics: a worst case needs at least one attack")
    found = [
        max(against.p_above(scores) for scores in defended.values())
        for against in reference.values()
    ]
    return min(1.0, len(found) * min(found))


def exceeds_seed_spread(before: Sequence[float], worse: Sequence[float], alpha: float) -> bool:
    """Whether the mean of ``worse``, a change by seed, exceeds what other training runs of the same
    thing change.

    Either the seeds agree on it (paired t), or it is more than the baseline's own spread over seeds
    predicts for the mean of as many new runs (t prediction interval): a collapse at one seed
    spreads the changes, and only the second notices. Each at ``alpha / 2``. With fewer than
    ``SEEDS`` there is nothing to tell it by: True.
    """
    seeds = len(worse)
    if seeds < SEEDS or p_above_zero(worse) < alpha / 2.0:
        return True
    expected = stdev(before) * math.sqrt(2.0 / seeds)
    if expected == 0.0:
        return fmean(worse) > 0.0
    from scipy.special import stdtr

    return bool(stdtr(seeds - 1, -fmean(worse) / expected) < alpha / 2.0)
