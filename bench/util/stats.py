"""Means with intervals, paired differences, one-sided tests and normalization.

Records of one victim share its training run, so they are not independent: intervals are taken over
whole clusters (the victim's seed) where there are several. Miller 2024, arXiv:2411.00640, gives the
reasons.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.util.errors import BenchError

FEW = 40
"""Below this many independent units the percentile bootstrap is too narrow; Student's t is used."""


class StatsError(BenchError, ValueError):
    """The values allow no statistic, for example because a score is missing."""


@dataclass(frozen=True)
class Interval:
    """A mean with its interval; ``low`` and ``high`` are NaN for a single value."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Return the mean and its two-sided interval, with ``(1 - level) / 2`` outside each end.

    :func:`mean_bounds` describes the method.

    Args:
        values: one finite score per record, ``(N,)``.
        clusters: the cluster of each record, or None.
        seed: seed of the resampling.
        resamples: bootstrap replicates.
        level: nominal coverage in (0, 1).

    Returns:
        The interval; its bounds are NaN for a single record.

    Raises:
        StatsError: there are no values, a value is not finite, or lengths differ.
    """
    tail = (1.0 - level) / 2.0
    return mean_bounds(
        values, clusters=clusters, seed=seed, resamples=resamples, tails=(tail, tail)
    )


def share_interval(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the share of ones among values 0 and 1, with Wilson's interval (JASA 1927).

    Units are records. The interval stays within [0, 1] and covers at all sizes (Brown, Cai,
    DasGupta, Statistical Science 2001), where Student's t exceeds 1 and the bootstrap has no width
    if all values agree.

    Raises:
        StatsError: a value is neither 0 nor 1, or there are no values.
    """
    scores = _vector(values)
    if not bool(np.isin(scores, (0.0, 1.0)).all()):
        raise StatsError("statistics: a share is of values that are 0 or 1")
    from scipy.special import ndtri

    n, share, z = len(scores), float(scores.mean()), float(ndtri(0.5 + level / 2))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At a share of 0 or 1 one end is the share itself; rounding must not put it on the other side.
    return Interval(
        share, max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach))
    )


def mean_bounds(
    values: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int,
    tails: tuple[float, float],
    resamples: int = 2000,
) -> Interval:
    """Return the mean with bounds that miss the truth with probability ``tails``, one for each end.

    Units are clusters if there are two or more, else records. With one cluster the bounds cover the
    variation between records only, not that between training runs.

    * ``FEW`` units or more: percentile bootstrap of whole units (Efron, Annals of Statistics 1979).
    * Fewer: Student's t over the units' means with k - 1 degrees of freedom, which stays valid when
      the units' variances differ (Ibragimov and Mueller, JBES 2010, after Bakirov and Szekely 2005;
      for tests at 8 % and below). The bootstrap of three clusters covers about 73 % instead of 95
      %, and the wild cluster bootstrap has only 2^3 sign patterns there (Cameron, Gelbach, Miller,
      REStat 2008).

    Raises:
        StatsError: there are no values, a value is not finite, or lengths differ.
    """
    scores = _vector(values)
    if clusters is not None and len(clusters) != len(scores):
        raise StatsError(f"statistics: {len(scores)} values but {len(clusters)} cluster names")
    if not all(0.0 < tail < 0.5 for tail in tails) or resamples < 1:
        level = 1.0 - sum(tails)
        raise StatsError(f"statistics: level {level:g} and {resamples} resamples make no interval")
    mean = float(scores.mean())
    if len(scores) == 1:
        return Interval(mean, math.nan, math.nan)
    sums, counts = _groups(scores, clusters)
    if len(sums) < FEW:
        from scipy.special import stdtrit

        error, degrees = _standard_error(sums, counts), len(sums) - 1
        low, high = (
            mean - float(stdtrit(degrees, 1.0 - tail)) * error
            for tail in (tails[0], 1.0 - tails[1])
        )
        return Interval(mean, low, high)
    k = len(sums)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(k, np.full(k, 1.0 / k), size=resamples).astype(np.float64)
    means = (draws @ sums) / (draws @ counts)
    low, high = np.quantile(means, [tails[0], 1.0 - tails[1]])
    return Interval(mean, float(low), float(high))


def mean_with_error(name: str, values: ArrayLike) -> dict[str, float]:
    """Return a mean as ``name`` and, for two or more values, its standard error as ``name_se``.

    Raises:
        StatsError: there are no values, or a value is not finite.
    """
    scores = _vector(values)
    found = {name: float(scores.mean())}
    if len(scores) > 1:
        found[f"{name}_se"] = float(scores.std(ddof=1) / math.sqrt(len(scores)))
    return found


def p_above_zero(values: ArrayLike, *, clusters: Sequence[Hashable] | None = None) -> float:
    """Return the one-sided p-value of "the mean is not above zero", by Student's t over units.

    Units are those of :func:`mean_bounds`.

    Returns:
        1 for a single unit, which allows no conclusion. Where all units agree exactly, 0 if the
        mean is above zero, else 1.

    Raises:
        StatsError: there are no values, a value is not finite, or lengths differ.
    """
    scores = _vector(values)
    sums, counts = _groups(scores, clusters)
    if len(sums) == 1:
        return 1.0
    mean, error = float(scores.mean()), _standard_error(sums, counts)
    if error == 0.0:
        return 0.0 if mean > 0.0 else 1.0
    from scipy.special import stdtr

    return float(stdtr(len(sums) - 1, -mean / error))


def p_shift_above_zero(values: ArrayLike) -> float:
    """Return the p-value of "these differences are not above zero", robust to heavy tails.

    The one-sided value is twice the smaller of two p-values (Bonferroni): that of Student's t, and
    that of Wilcoxon's signed ranks (Biometrics Bulletin 1945), which detects that nearly all
    records moved in one direction where a few large moves inflate the standard error of the mean.

    Raises:
        StatsError: there are no values, a value is not finite, or lengths differ.
    """
    by_mean = p_above_zero(values)
    moved = [value for value in _vector(values).tolist() if value != 0.0]
    if not moved:
        return by_mean
    from scipy.stats import wilcoxon

    by_rank = float(wilcoxon(moved, alternative="greater").pvalue)
    return min(1.0, 2.0 * min(by_mean, by_rank))


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Return adjusted p-values, in input order, that bound the chance of any false finding.

    The method is Holm's (Scandinavian Journal of Statistics 1979).

    Args:
        p_values: the p-values of one family of tests.
        weights: above 0; a test of twice the weight is corrected half as much. None weighs all
            tests equally.

    Raises:
        StatsError: there are not as many weights as p-values, or one is not above 0.
    """
    shares = [1.0] * len(p_values) if weights is None else list(weights)
    if len(shares) != len(p_values) or not all(share > 0.0 for share in shares):
        raise StatsError(
            f"statistics: {len(shares)} weights for {len(p_values)} p-values, or one is not above 0"
        )
    adjusted = [1.0] * len(p_values)
    highest, remaining = 0.0, sum(shares)
    for place in sorted(range(len(p_values)), key=lambda i: p_values[i] / shares[i]):
        highest = max(highest, min(1.0, remaining * p_values[place] / shares[place]))
        adjusted[place] = highest
        remaining -= shares[place]
    return adjusted


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Return the mean of ``first - second`` over the records, with its interval.

    Pairing removes the difficulty of each record, which is most of the variation. See
    :func:`mean_interval`.

    Raises:
        StatsError: the two differ in length, there are no values, or a value is not finite.
    """
    one, two = _vector(first), _vector(second)
    if len(one) != len(two):
        raise StatsError(f"statistics: {len(one)} and {len(two)} values do not pair up")
    return mean_interval(one - two, clusters=clusters, seed=seed, resamples=resamples, level=level)


def normalized(value: float, floor: float, ceiling: float) -> float:
    """Return where a value lies between its controls: 0 at the floor, 1 at the ceiling.

    The function also serves metrics where lower is closer (floor > ceiling). The result is not
    clipped: an attack below its floor should be visible.

    Returns:
        A number, or NaN where floor and ceiling coincide or a number is not finite.
    """
    if floor == ceiling or not all(map(math.isfinite, (value, floor, ceiling))):
        return math.nan
    return (value - floor) / (ceiling - floor)


def loss_ends(losses: Sequence[float]) -> tuple[float, float]:
    """Return the mean of the first and of the last tenth of the losses of a training.

    Fewer than ten losses give the first and the last one; no loss gives zeros.
    """
    tenth = max(1, len(losses) // 10)
    return sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth


def _vector(values: ArrayLike) -> NDArray[np.float64]:
    """Return values as ``(N,)`` finite float64 with N >= 1.

    Raises:
        StatsError: the values are not of this form; none of them is dropped.
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or not len(vector):
        raise StatsError(
            f"statistics: expected a non-empty row of values, got shape {vector.shape}"
        )
    bad = int((~np.isfinite(vector)).sum())
    if bad:
        raise StatsError(
            f"statistics: {bad} of {len(vector)} values are not finite; a partial set has no mean"
        )
    return vector


def _groups(
    scores: NDArray[np.float64], clusters: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sum and the size of every unit, ``(K,)`` each.

    Units are clusters if there are two or more, else records.
    """
    places: dict[Hashable, int] = {}
    labels = [places.setdefault(name, len(places)) for name in clusters or ()]
    if len(places) < 2:
        return scores, np.ones_like(scores)
    sums = np.bincount(labels, weights=scores).astype(np.float64)
    return sums, np.bincount(labels).astype(np.float64)


def _standard_error(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """Return the standard error of ``sum(sums) / sum(counts)``, from the units' residuals.

    With equal counts it is the standard error of a mean of means.
    """
    k = len(sums)
    residuals = (sums - counts * sums.sum() / counts.sum()) / counts.mean()
    return float(np.sqrt((residuals**2).sum() / (k - 1) / k))
