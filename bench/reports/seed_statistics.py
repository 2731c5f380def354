"""Computes intervals and tests from scores by victim seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from bench.util.stats import Interval, StatsError, mean_bounds, mean_interval, p_above_zero

SEEDS = 3
"""Fewest seeds that allow an estimate of the spread between training runs."""


@dataclass(frozen=True)
class SeedScores:
    """Scores of one attack on one defence by one measure.

    Attributes:
        by_seed: scores by record name for each seed; where only the mean of a seed is known, it is
            a single score under any name.
        drawn: a fingerprint of the scored records for each seed, for ledgers that name records by
            position.
    """

    by_seed: Mapping[int, Mapping[str, float]]
    drawn: Mapping[int, str] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the victim seeds, sorted."""
        return tuple(sorted(self.by_seed))

    def values(self) -> list[float]:
        """Return all scores in the order of the seeds."""
        return [value for seed in self.seeds for value in self.by_seed[seed].values()]

    def clusters(self) -> list[int]:
        """Return the seed of every value of ``values``."""
        return [seed for seed in self.seeds for _ in self.by_seed[seed]]

    def mean(self) -> float:
        """Return the mean over all records of all seeds."""
        return fmean(self.values())

    def minus(self, other: SeedScores) -> SeedScores:
        """Return the differences to ``other`` on the seeds that both have.

        They are differences by record, or of the means of a seed where its records differ.

        Raises:
            StatsError: the two have no seed in common.
        """
        shared = sorted(set(self.by_seed) & set(other.by_seed))
        if not shared:
            raise StatsError("statistics: the two have no seed in common, so no scores pair up")
        return SeedScores({seed: self._minus(other, seed) for seed in shared})

    def _minus(self, other: SeedScores, seed: int) -> dict[str, float]:
        mine, others = self.by_seed[seed], other.by_seed[seed]
        if set(mine) == set(others) and self.drawn.get(seed) == other.drawn.get(seed):
            return {record: value - others[record] for record, value in mine.items()}
        return {"mean": fmean(mine.values()) - fmean(others.values())}

    def interval(self, *, seed: int = 0, level: float = 0.95) -> Interval:
        """Return the interval of the mean over seeds, or over records where there is one seed."""
        return mean_interval(self.values(), clusters=self.clusters(), seed=seed, level=level)

    def p_above_zero(self) -> float:
        """Return the one-sided p-value over seeds, or over records where there is one seed."""
        return p_above_zero(self.values(), clusters=self.clusters())

    def p_above(self, other: SeedScores) -> float:
        """Return the p-value of "the mean is not above the other's"; 1 without a shared seed."""
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
    """Return the attack with the highest mean, with bounds of the highest true mean.

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
    # A single value has no bounds; the bounds of the other attacks still bound the highest mean.
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
    """Return the p-value of "the worst case of ``defended`` is not below that of ``reference``".

    It is below if *some* attack on the reference beats *every* attack on the defended: the largest
    p over the defended's attacks (intersection-union, Berger 1982), the smallest over the
    reference's (Bonferroni). No attack is selected by its scores, so no correction for selection is
    needed. Scores are paired by seed and record.

    Raises:
        StatsError: one of the two has no attack.
    """
    if not defended or not reference:
        raise StatsError("statistics: a worst case needs at least one attack")
    p_values = [
        max(against.p_above(scores) for scores in defended.values())
        for against in reference.values()
    ]
    return min(1.0, len(p_values) * min(p_values))


def exceeds_seed_spread(before: Sequence[float], worse: Sequence[float], alpha: float) -> bool:
    """Return whether the mean change over seeds exceeds the spread between training runs.

    Either all seeds agree (paired t test), or the change exceeds what the spread of the baseline
    over seeds predicts for the mean of as many new runs (t prediction interval). The second test
    detects a collapse at one seed, which makes the changes too variable for the first. Each test
    has level ``alpha / 2``. With fewer than ``SEEDS`` seeds no spread is known, and the answer is
    True.

    Args:
        before: mean of each seed in the baseline.
        worse: change of each seed, positive where it got worse.
        alpha: level of both tests together.
    """
    seeds = len(worse)
    if seeds < SEEDS or p_above_zero(worse) < alpha / 2.0:
        return True
    expected = stdev(before) * math.sqrt(2.0 / seeds)
    if expected == 0.0:
        return fmean(worse) > 0.0
    from scipy.special import stdtr

    return bool(stdtr(seeds - 1, -fmean(worse) / expected) < alpha / 2.0)
