"""Calibration of the cosine above which two images count as showing one person."""

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
    """A threshold, its interval and the size of its calibration.

    Attributes:
        value: the cosine that at most the wanted share of the impostor pairs exceeds, in [-1, 1].
        low: lower end of its 95 % interval, in [-1, 1].
        high: upper end of its 95 % interval, in [-1, 1].
        impostor_pairs: number of pairs of calibration images of different identities.
        identities: number of identities among the calibration images.
    """

    value: float
    low: float
    high: float
    impostor_pairs: int
    identities: int


@dataclass(frozen=True, eq=False)
class _Impostors:
    """Pairs of images of different identities, the most alike first.

    Attributes:
        cosines: ``(P,)`` float64, descending.
        first: index of the first image's identity, ``(P,)``.
        second: index of the second image's identity, ``(P,)``.
        sizes: number of images of each identity, ``(G,)``.
    """

    cosines: NDArray[np.float64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def exceeded_by(self, share: float, weights: NDArray[np.int64]) -> float:
        """Return the cosine that at most a share of the pairs exceeds; NaN where there is no pair.

        Args:
            share: of the pairs, in (0, 1).
            weights: how often each identity counts, ``(G,)``; a pair counts as often as the product
                of both.
        """
        sizes = weights * self.sizes
        allowed = share * float(sizes.sum() ** 2 - (sizes**2).sum()) / 2
        if allowed == 0.0:
            return math.nan
        # The place is usually near the front; all pairs are counted only where it is not.
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
    """Return why no threshold can be calibrated on these records, or None where one can.

    A share of 1 % needs at least 100 pairs of different identities, so 15 identities: with fewer,
    the most alike pair is not distinguishable from the wanted quantile. Pairs of *identities* are
    counted, since several images of two people carry little more information about other people
    than one image of each.

    Args:
        identities: who each calibration image shows; an image without identity stands for itself.
        share: the false-match rate, in (0, 1).
    """
    count = len(set(group_numbers(identities)))
    pairs = count * (count - 1) // 2
    needed = math.ceil(1.0 / share)
    if pairs >= needed:
        return None
    enough = math.ceil((1.0 + math.sqrt(1.0 + 8.0 * needed)) / 2.0)
    return (
        f"the calibration split has {count} identities, which make {pairs} pairs of different "
        f"identities; a false-match rate of {share:.3g} needs {needed} pairs, "
        f"so {enough} identities"
    )


def threshold(embedded: Tensor, identities: Sequence[str | None], share: float) -> float:
    """Return the cosine that at most a share of the pairs of different identities exceeds.

    Args:
        embedded: ``(M, D)`` unit-length embeddings of calibration images.
        identities: who each image shows; an image without identity stands for itself.
        share: the false-match rate, in (0, 1).

    Raises:
        BenchError: too few identities, or an embedding that is not finite.
    """
    impostors = _impostors(embedded, identities, share)
    return impostors.exceeded_by(share, np.ones_like(impostors.sizes))


def calibrate(embedded: Tensor, identities: Sequence[str | None], share: float) -> MatchThreshold:
    """Return the threshold of :func:`threshold` with its 95 % interval.

    The interval is ``value ± t * s``. s is the standard deviation of the threshold over bootstrap
    resamples of whole identities, in which a pair counts as often as both its identities were drawn
    and two draws of one identity are no impostor pair (Bolle, Ratha, Pankanti, CVIU 2004; Snijders
    and Borgatti, Connections 1999). t is Student's quantile with one degree of freedom less than
    there are identities. The percentile interval of the same resamples is too short at the top,
    where a resample cannot be more alike than the most alike pair of the sample. The resampling has
    a fixed seed, since the threshold belongs to the data and not to a run.

    Args:
        embedded: ``(M, D)`` unit-length embeddings of calibration images.
        identities: who each image shows; an image without identity stands for itself.
        share: the false-match rate, in (0, 1).

    Raises:
        BenchError: too few identities, or an embedding that is not finite.
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
    """Return all pairs of images of different identities.

    Raises:
        BenchError: too few identities, or an embedding that is not finite.
    """
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
