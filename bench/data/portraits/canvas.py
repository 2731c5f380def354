"""A floating-point canvas with anti-aliased shapes given by signed distances.

Masks are ``(h, w)`` in [0, 1]; coordinates run right and down. A :class:`Frame` maps the canvas to
the head's axes, and a :class:`Patch` is the part of it that a small feature touches, so that
painting an eye does not cost a whole canvas.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.data import exact_math
from bench.data.exact_arrays import Array, decay
from bench.data.portraits.maps import Maps, PortraitPart


@dataclass(frozen=True)
class Patch:
    """A window of the canvas.

    Attributes:
        x: frame coordinates of its pixel centres to the right, ``(h, w)``.
        y: frame coordinates of its pixel centres downwards, ``(h, w)``.
        pixels: view into the canvas, ``(3, h, w)``.
        step: size of one canvas pixel in frame units.
        maps: views into the maps of parts and depth, or None.
    """

    x: Array
    y: Array
    pixels: Array
    step: float
    maps: Maps | None = None

    def fill(self, distance: Array, soft: float = 0.0) -> Array:
        """Return the coverage of the region of negative ``distance``; ``soft`` widens the edge."""
        mask = distance * np.float32(-1 / (self.step * 1.2 + soft))
        mask += np.float32(0.5)
        np.maximum(mask, 0, out=mask)
        np.minimum(mask, 1, out=mask)
        return mask

    def ellipse(self, cx: float, cy: float, a: float, b: float, soft: float = 0.0) -> Array:
        """Return the coverage of an ellipse."""
        u, v = (self.x - np.float32(cx)) / np.float32(a), (self.y - np.float32(cy)) / np.float32(b)
        k = np.sqrt(u * u + v * v + np.float32(1e-8))
        return self.fill((k - 1) * np.float32(min(a, b)), soft)

    def glow(self, cx: float, cy: float, a: float, b: float) -> Array:
        """Return a Gaussian spot, 1 in its centre."""
        u, v = (self.x - np.float32(cx)) / np.float32(a), (self.y - np.float32(cy)) / np.float32(b)
        return decay(u * u + v * v)

    def paint(self, mask: Array, colour: Array | tuple[float, float, float]) -> None:
        """Cover the patch with ``colour`` (a triple or ``(3, h, w)``) by the shares in ``mask``."""
        value = np.asarray(colour, dtype=np.float32)
        if value.ndim == 1:
            value = value[:, None, None]
        change = value - self.pixels
        change *= mask
        np.add(self.pixels, change, out=self.pixels)

    def mark(self, mask: Array, part: PortraitPart, depth: Array | float | None = None) -> None:
        """Note in the maps, where there are any, what was painted; see :meth:`Maps.mark`."""
        if self.maps is not None:
            self.maps.mark(mask, part, depth)

    def lift(self, amount: Array) -> None:
        """Note in the maps, where there are any, that the surface comes nearer by ``amount``."""
        if self.maps is not None:
            self.maps.lift(amount)

    def shade(self, mask: Array, factor: float) -> None:
        """Multiply brightness by ``factor`` where ``mask`` is 1."""
        np.multiply(self.pixels, 1 + mask * np.float32(factor - 1), out=self.pixels)


class Frame:
    """A canvas in shifted, turned and scaled axes.

    Args:
        pixels: ``(3, n, n)`` float32 in [0, 1], spanning [-1, 1] both ways.
        centre: origin of the frame, in canvas coordinates.
        scale: canvas units in one frame unit.
        tilt: clockwise turn in radians.
        maps: parts and depth of the canvas, or None.
    """

    def __init__(
        self,
        pixels: Array,
        centre: tuple[float, float],
        scale: float,
        tilt: float,
        maps: Maps | None = None,
    ) -> None:
        self.pixels, self.centre, self.scale, self.tilt, self.maps = (
            pixels,
            centre,
            scale,
            tilt,
            maps,
        )
        n = pixels.shape[1]
        line = ((np.arange(n, dtype=np.float32) + np.float32(0.5)) * np.float32(2.0 / n)) - 1
        dx, dy = (line[None, :] - np.float32(centre[0])), (line[:, None] - np.float32(centre[1]))
        c, s = np.float32(exact_math.cos(tilt) / scale), np.float32(exact_math.sin(tilt) / scale)
        self.x: Array = dx * c + dy * s
        self.y: Array = dy * c - dx * s
        self.step = 2.0 / n / scale

    def whole(self) -> Patch:
        """Return the whole canvas as a patch."""
        return Patch(self.x, self.y, self.pixels, self.step, self.maps)

    def window(self, x0: float, x1: float, y0: float, y1: float) -> Patch:
        """Return the smallest upright window that holds the given box of frame coordinates."""
        n = self.pixels.shape[1]
        c, s = exact_math.cos(self.tilt) * self.scale, exact_math.sin(self.tilt) * self.scale
        xs = [self.centre[0] + x * c - y * s for x in (x0, x1) for y in (y0, y1)]
        ys = [self.centre[1] + x * s + y * c for x in (x0, x1) for y in (y0, y1)]
        left, right = (
            int(min(max(v, 0), n)) for v in ((min(xs) + 1) * n / 2 - 1, (max(xs) + 1) * n / 2 + 2)
        )
        top, bottom = (
            int(min(max(v, 0), n)) for v in ((min(ys) + 1) * n / 2 - 1, (max(ys) + 1) * n / 2 + 2)
        )
        rows, columns = slice(top, bottom), slice(left, right)
        maps = None if self.maps is None else self.maps.window(rows, columns)
        return Patch(
            self.x[rows, columns],
            self.y[rows, columns],
            self.pixels[:, rows, columns],
            self.step,
            maps,
        )


def squared(x: Array) -> Array:
    """Return the square of each value."""
    return x * x


def rounded(k: Array) -> Array:
    """Return the height of a half-sphere of radius 1 at distance ``k`` from its middle, else 0."""
    height: Array = np.sqrt(np.clip(1 - k * k, 0, 1))
    return height


def smooth_noise(rng: np.random.Generator, n: int, rows: int, columns: int) -> Array:
    """Return random values in [-1, 1] on a coarse grid, interpolated smoothly to ``(n, n)``."""
    grid = rng.uniform(-1, 1, (rows + 1, columns + 1)).astype(np.float32)
    low, weight, next_weight = _spread(n, columns)
    lines = grid[:, low] * weight + grid[:, low + 1] * next_weight
    low, weight, next_weight = _spread(n, rows)
    return lines[low] * weight[:, None] + lines[low + 1] * next_weight[:, None]


@lru_cache(maxsize=64)
def _spread(n: int, cells: int) -> tuple[NDArray[np.int64], Array, Array]:
    """Return the knot before each of ``n`` samples, its weight and that of the next knot.

    There are ``cells + 1`` knots.
    """
    at = (np.arange(n, dtype=np.float32) + np.float32(0.5)) * np.float32(cells / n)
    low = np.minimum(at.astype(np.int64), cells - 1)
    t = at - low
    t = t * t * (3 - 2 * t)
    return low, (1 - t).astype(np.float32), t.astype(np.float32)


def ripple(angle: Array, knots: Array) -> Array:
    """Return a random periodic function of ``angle`` (radians), linear between ``knots``.

    Its values lie in [-1, 1].
    """
    fine = 2048
    at = np.arange(fine, dtype=np.float32) * np.float32(len(knots) / fine)
    before = at.astype(np.int64)
    closed = np.append(knots, knots[0]).astype(np.float64)
    table = (closed[before] + (closed[before + 1] - closed[before]) * (at - before)).astype(
        np.float32
    )
    value: Array = table[
        (angle * np.float32(fine / (2 * exact_math.PI))).astype(np.int32) & (fine - 1)
    ]
    return value
