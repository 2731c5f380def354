"""Elementary functions of float32 arrays that give equal bits on every processor, from tables.

A table holds values of :mod:`bench.data.exact_math`; between two of them the function is
interpolated linearly. Each function is within 1e-6 of the true value, which is less than a
thousandth of the step from one grey level to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data import exact_math

Array = NDArray[np.floating[Any]]

_PER_RADIAN = np.float64(0.5 / exact_math.PI)


@dataclass(frozen=True, eq=False)
class InterpolationTable:
    """A function on [0, end], linear between samples.

    Attributes:
        values: the function at each sample, float32.
        rises: the difference from each sample to the next, float32.
        density: samples per unit of the argument; a power of two, so that scaling by it is exact.
    """

    values: NDArray[np.float32]
    rises: NDArray[np.float32]
    density: int

    @classmethod
    def sampled(
        cls, function: Callable[[float], float], end: int, density: int
    ) -> InterpolationTable:
        """Return a table of ``function`` on [0, ``end``]."""
        samples = np.array([function(i / density) for i in range(end * density + 2)])
        return cls(
            samples[:-1].astype(np.float32),
            (samples[1:] - samples[:-1]).astype(np.float32),
            density,
        )

    def __call__(self, x: Array) -> Array:
        """Return the function at ``x`` >= 0; beyond the end of the table its last value."""
        place = x * np.float32(self.density)
        np.minimum(place, np.float32(len(self.values) - 1), out=place)
        sample = place.astype(np.intp)
        place -= np.floor(place)
        place *= self.rises.take(sample)
        place += self.values.take(sample)
        return place


@cache
def _decay() -> InterpolationTable:
    return InterpolationTable.sampled(lambda x: exact_math.exp(-x), 16, 1024)


@cache
def _wave() -> InterpolationTable:
    return InterpolationTable.sampled(
        lambda turn: exact_math.sin(2 * exact_math.PI * turn), 1, 8192
    )


@cache
def _arctan() -> InterpolationTable:
    return InterpolationTable.sampled(exact_math.arctan, 1, 4096)


@cache
def _power(exponent: float) -> InterpolationTable:
    return InterpolationTable.sampled(lambda x: exact_math.power(x, exponent), 4, 4096)


def block_mean(values: NDArray[Any], factor: int) -> Array:
    """Return the mean over ``factor`` x ``factor`` blocks of the last two axes, float32.

    The values are summed in a fixed order.
    """
    total = np.zeros((), np.float32)
    for row in range(factor):
        for column in range(factor):
            total = total + values[..., row::factor, column::factor]
    return total * np.float32(1 / (factor * factor))


def decay(x: Array) -> Array:
    """Return exp(-x) of ``x`` >= 0; constant from 16 on, where it is 1e-7."""
    return _decay()(x)


def sin(x: Array) -> Array:
    """Return the sine of ``x`` radians."""
    return _at_turns(x * _PER_RADIAN)


def cos(x: Array) -> Array:
    """Return the cosine of ``x`` radians."""
    return _at_turns(x * _PER_RADIAN + 0.25)


def _at_turns(turns: Array) -> Array:
    """Return the sine of angles given as full turns in float64."""
    return _wave()((turns - np.floor(turns)).astype(np.float32))


def arctan2(y: Array, x: Array) -> Array:
    """Return the angle of the point (``x``, ``y``) from the first axis, in [-pi, pi]."""
    across, along = np.abs(y), np.abs(x)
    longest = np.maximum(np.maximum(across, along), np.float32(1e-30))
    angle = _arctan()(np.minimum(across, along) / longest)
    angle = np.where(across > along, np.float32(exact_math.PI / 2) - angle, angle)
    angle = np.where(x < 0, np.float32(exact_math.PI) - angle, angle)
    return np.copysign(angle, y)


def power(x: Array, exponent: float) -> Array:
    """Return ``x`` to the power ``exponent`` > 1, for ``x`` in [0, 4]; constant from 4 on."""
    return _power(exponent)(x)
