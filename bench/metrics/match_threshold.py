"""The cosine above which two pictures count as one person, calibrated on pairs of different people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.types.identities import group_numbers
from bench.util.errors import BenchError

RESAMPLES = 1000
TAIL = 0.025
"""Probability with which each end of the interval is to miss: a 95 % interval."""


@dataclass(frozen=True)
class MatchThreshold:
    """A threshold with what it rests on.

    Attributes:
        value: the cosine that at most the wanted share of the impostor pairs exceeds, in [-1, 1].
        low, high: its 95 % interval, in [-1, 1].
        impostor_pairs: pairs of calibration pictures of different identities.
        identities: different identities among the calibration pictures.
    """

    value: float
    low: float
    high: float
    impostor_pairs: int
    identities: int


@dataclass(frozen=True, eq=False)
class _Impostors:
    """Pairs of pictures of different identities, the most alike first.

    Attributes:
        cosines: ``(P,)`` float64, descending.
        first, second: the number of either picture's identity, ``(P,)``.
        sizes: pictures of each identity, ``(G,)``.
    """

    cosines: NDArray[np.float64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def exceeded_by(self, share: float, weights: NDArray[np.int64]) -> float:
        """The cosine that at most a share of the pairs exceeds, NaN where there is no pair.

        Args:
            weights: how often each identity counts, ``(G,)``; a pair counts as often as both
                together.
        """
        sizes = weights * self.sizes
        allowed = share * float(sizes.sum() ** 2 - (sizes**2).sum()) / 2
        if allowed == 0.0:
            return math.nan
        # The place is near the front as a rule; all pairs are counted only where it is not.
        for count in (
            min(len(self.cosines), 1000 + int(10 * share * len(self.cosines))),
            len(self.cosines),
        ):
            front = slice(count)
            counted = np.cumsum(weights[self.first[front]] * weights[self.second[front]])
            place = int(np.searchsorted(counted, allowed, side="right"))
            if place < count:
                return float(self.cosines[place])
        return float(self.cosines[-1])


def shortage(identities: Sequence[str | None], share: float) -> str | None:
    """Why no threshold can be calibrated on these records, in a few words, or None where one can.

    A share of 1 % takes at least 100 pairs of different identities, so 15 identities: fewer cannot
    tell the most alike pair from the wanted quantile. Pairs of *identities* are counted, since
    several pictures of two people say little more about strangers than one picture of each.
    """
    count = len(set(group_numbers(identities)))
    pairs = count * (count - 1) // 2
    needed = math.ceil(1.0 / share)
    if pairs >= needed:
        return None
    enough = math.ceil((1.0 + math.sqrt(1.0 + 8.0 * needed)) / 2.0)
    return (
        f"the calibration split has {count} identities, which make {pairs} pairs of different ones; a false-match rate "
        f"of {share:.3g} takes {needed} pairs, so {enough} identities"
    )


def threshold(embedded: Tensor, identities: Sequence[str | None], share: float) -> float:
    """The cosine that at most a share of the pairs of pictures of different identities exceeds.

    Args:
        embedded: ``(M, D)`` unit-length embeddings of calibration pictures.
        identities: who each shows; a picture without identity stands for itself.
        share: the false-match rate, in (0, 1).

    Raises:
        BenchError: too few identities, or an embedding that is not finite.
    """
    impostors = _impostors(embedded, identities, share)
    return impostors.exceeded_by(share, np.ones_like(impostors.sizes))


def calibrate(embedded: Tensor, identities: Sequence[str | None], share: float) -> MatchThreshold:
    """:func:`threshold` with its 95 % interval.

    The interval is ``value ± t * s``. s is the standard deviation of the threshold over bootstrap
    resamples of whole identities, in which a pair counts as often as both its identities were drawn
    and two draws of one identity are no impostor pair (Bolle, Ratha, Pankanti, CVIU 2004; Snijders
    and Borgatti, Connections 1999). t is Student's quantile with one degree of freedom less than
    there are identities. The percentile interval of the same resamples is too short at the top,
    where a resample cannot be more alike than the most alike pair of the sample. The resampling has
    a fixed seed, since the threshold belongs to the data and not to a run.

    Raises:
        BenchError: as :func:`threshold`.
    """
    impostors = _impostors(embedded, identities, share)
    groups = len(impostors.sizes)
    value = impostors.exceeded_by(share, np.ones_like(impostors.sizes))
    draws = np.random.default_rng(0).multinomial(
        groups, np.full(groups, 1.0 / groups), size=RESAMPLES
    )
    spread = float(np.nanstd([impostors.exceeded_by(share, weights) for weights in draws]))
    from scipy.special import stdtrit

    reach = float(stdtrit(groups - 1, 1.0 - TAIL)) * spread
    return MatchThreshold(
        value=value,
        low=max(-1.0, value - reach),
        high=min(1.0, value + reach),
        impostor_pairs=len(impostors.cosines),
        identities=groups,
    )


def _impostors(embedded: Tensor, identities: Sequence[str | None], share: float) -> _Impostors:
    if len(embedded) != len(identities):
        raise BenchError(
            f"identified: {len(embedded)} calibration pictures but {len(identities)} identities"
        )
    if reason := shortage(identities, share):
        raise BenchError(f"identified: {reason}")
    if not bool(embedded.isfinite().all()):
        raise BenchError("identified: a calibration picture has an embedding that is not finite")
    groups = np.asarray(group_numbers(identities), dtype=np.int64)
    row, column = np.triu_indices(len(groups), 1)
    different = groups[row] != groups[column]
    row, column = row[different], column[different]
    cosines = (embedded @ embedded.T).double().cpu().numpy()[row, column]
    order = np.argsort(-cosines, kind="stable")
    return _Impostors(
        cosines[order], groups[row[order]], groups[column[order]], np.bincount(groups)
    )
