"""Gaussian smoothing that gives equal bits on every processor."""

from __future__ import annotations

from functools import lru_cache
from math import fsum

import numpy as np
from numpy.typing import NDArray

from bench.data import exact_math

Plane = NDArray[np.float64]

_REACH = 4.0
"""Standard deviations at which the kernel ends."""


@lru_cache(maxsize=64)
def kernel(sigma: float) -> Plane:
    """Return the weights of a Gaussian of standard deviation ``sigma`` pixels; their sum is 1."""
    radius = int(_REACH * sigma + 0.5)
    weights = [exact_math.exp(-0.5 * x * x / (sigma * sigma)) for x in range(-radius, radius + 1)]
    total = fsum(weights)
    return np.array([w / total for w in weights])


def smooth(values: Plane, sigma: float, mode: str) -> Plane:
    """Return ``values`` smoothed along their first two axes.

    Args:
        values: ``(H, W)`` or ``(H, W, C)``.
        sigma: standard deviation in pixels.
        mode: what lies beyond the border, as in ``scipy.ndimage``; ``constant`` is 0.
    """
    from scipy.ndimage import correlate1d

    # The convolution itself only multiplies and adds, in one order, in code that is the same for
    # every processor.
    for axis in (0, 1):
        values = correlate1d(values, kernel(sigma), axis=axis, mode=mode)
    return values


def smooth_inside(values: Plane, sigma: float) -> Plane:
    """Return ``(H, W)`` smoothed over the pixels inside, so that the border does not darken."""
    smoothed: Plane = smooth(values, sigma, "constant") / _share_inside(values.shape, sigma)
    return smoothed


@lru_cache(maxsize=64)
def _share_inside(shape: tuple[int, ...], sigma: float) -> Plane:
    """Return the share of the kernel around each pixel that lies inside the picture."""
    return smooth(np.ones(shape), sigma, "constant") + np.finfo(np.float64).eps
