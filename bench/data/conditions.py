"""Hint images computed from pictures, for data sets and for metrics of fidelity to the hint."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.smoothing import smooth, smooth_inside
from bench.util.errors import RequestError

REFERENCE_SIZE = 64
LUMA = (299, 587, 114)
"""Thousandths of red, green and blue in the brightness of a colour (BT.601)."""
_SPARSEST = 1 / 8
"""A stroke shorter than this share of the side is left out of a scribble."""
_SQUARINGS = 12

Picture = NDArray[np.uint8]


def _edges(grey: NDArray[np.float64], sigma: float, low: float, high: float) -> NDArray[np.bool_]:
    from skimage.feature import canny as detect

    # Smoothed here, since scikit-image takes its kernel from numpy's exp, which differs between
    # processors. Smoothing spreads an edge, so that its gradient falls as sigma rises.
    found: NDArray[np.bool_] = detect(  # type: ignore[no-untyped-call]
        smooth_inside(grey, sigma),
        sigma=0,
        low_threshold=low / sigma,
        high_threshold=high / sigma,
        mode="nearest",
    )
    return found


def canny(image: Picture) -> Picture:
    """Return white one-pixel outlines on black of an ``(H, W, 3)`` picture, ``(H, W)`` in {0, 255}.

    The smoothing width grows with the square root of the picture's side, so that a larger picture
    keeps detail but loses grain. The thresholds are absolute (on grey in [0, 1]): a flat picture
    has no edges.
    """
    red, green, blue = (image[..., c].astype(np.int64) for c in range(3))
    grey = (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue) / (1000 * 255.0)
    sigma = max(0.6, sqrt(min(grey.shape) / REFERENCE_SIZE))
    return np.where(_edges(grey, sigma, 0.08, 0.20), np.uint8(255), np.uint8(0))


def scribble(image: Picture) -> Picture:
    """Return a few thick soft strokes along the strongest long outlines, ``(H, W)`` uint8.

    The function replaces the soft-edge and scribble hints of ControlNet (arXiv:2302.05543), which
    need a trained edge detector. Smoothing, length and thickness are shares of the picture's side,
    so that a larger picture gives an equal drawing.
    """
    from scipy.ndimage import distance_transform_edt
    from skimage.morphology import remove_small_objects

    side = min(image.shape[:2])
    scale = side / REFERENCE_SIZE
    # Each channel by itself, for an outline between two colours of one brightness counts as well.
    channels = image.astype(np.float64).transpose(2, 0, 1) / 255.0
    red, green, blue = (
        _edges(channel, 1.8 * scale, 0.14 * scale, 0.36 * scale) for channel in channels
    )
    lines = red | green | blue
    lines = remove_small_objects(lines, max_size=int(_SPARSEST * side), connectivity=2)
    if not lines.any():
        return np.zeros(lines.shape, np.uint8)
    distance = distance_transform_edt(~lines)
    # Two to three pixels wide at 64, with a soft rim.
    strokes: Picture = (np.clip(1.6 - distance / max(scale, 0.5), 0.0, 1.0) * 255 + 0.5).astype(
        np.uint8
    )
    return strokes


def blur(image: Picture) -> Picture:
    """Return low-frequency colour, ``(H, W, 3)`` uint8: a Gaussian of a sixteenth of the side."""
    smoothed = smooth(image.astype(np.float64), min(image.shape[:2]) / 16, "nearest")
    rounded: Picture = (smoothed + 0.5).astype(np.uint8)
    return rounded


def outline(image: Picture) -> Picture:
    """Return white one-pixel outlines between areas of different colour, ``(H, W)`` in {0, 255}.

    Edges are detected along the direction in which the picture's colours differ most. Two colours
    of equal brightness, between which :func:`canny` detects no edge, differ in that direction.
    """
    red, green, blue = (image[..., c] / 255.0 for c in range(3))
    axis = _widest(image)
    values = axis[0] * red + axis[1] * green + axis[2] * blue
    sigma = max(0.6, sqrt(min(values.shape) / REFERENCE_SIZE))
    return np.where(_edges(values, sigma, 0.08, 0.20), np.uint8(255), np.uint8(0))


def _widest(image: Picture) -> tuple[float, float, float]:
    """Return the unit vector along which the colours of an ``(H, W, 3)`` picture vary most."""
    channels = [image[..., c].astype(np.int64) for c in range(3)]
    count, sums = image[..., 0].size, [int(c.sum(dtype=np.int64)) for c in channels]
    # Covariance in whole numbers, which no order of summation changes.
    products = [[int((a * b).sum(dtype=np.int64)) for b in channels] for a in channels]
    spread = [[count * products[i][j] - sums[i] * sums[j] for j in range(3)] for i in range(3)]
    scale = max(map(max, spread)) or 1
    matrix = [[value / scale for value in row] for row in spread]
    # Each squaring doubles the lead of the largest eigenvalue; then every column lies along its
    # eigenvector.
    for _ in range(_SQUARINGS):
        squared = [[_inner(row, other) for other in matrix] for row in matrix]
        largest = max(squared[i][i] for i in range(3)) or 1.0
        matrix = [[value / largest for value in row] for row in squared]
    axis = max(matrix, key=lambda row: _inner(row, row))
    length = sqrt(_inner(axis, axis)) or 1.0
    return axis[0] / length, axis[1] / length, axis[2] / length


def _inner(a: list[float], b: list[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def noise(index: int, size: tuple[int, int], seed: int) -> Picture:
    """Return uniform colour noise, ``(H, W, 3)`` uint8, a hint that carries no information."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0x4015E, index])))
    return rng.integers(0, 256, (*size, 3), dtype=np.uint8)


EXTRACTORS: dict[str, Callable[[Picture], Picture]] = {
    "blur": blur,
    "canny": canny,
    "scribble": scribble,
}
RANDOM = "random"
CHOICES = (*sorted(EXTRACTORS), RANDOM)
"""Hints that every data set can give."""
DRAWN = {"outline": "fill", "segmentation": "portraits", "depth": "portraits", "own": "folder"}
"""Hints that cannot be computed from pixels, each with the data set that gives it."""
LINES = frozenset({"canny", "scribble", "outline"})
"""Hints made of lines, for which edge scores are meaningful."""


def extract(name: str, images: Tensor, *, seed: int = 0, first: int = 0) -> Tensor:
    """Return hint images of ``images``.

    Args:
        name: one of :data:`CHOICES`.
        images: ``(N, 3, H, W)`` uint8.
        seed: seed of the hints that do not depend on the pictures.
        first: number of the first picture in its data set, for the hints that do not depend on the
            pictures.

    Returns:
        ``(N, 3, H, W)`` uint8; outlines have three equal channels.

    Raises:
        RequestError: the name is unknown, or the hint cannot be computed from pixels.
    """
    if name == RANDOM:
        size = (int(images.shape[2]), int(images.shape[3]))
        return _stack([noise(first + i, size, seed) for i in range(len(images))], images)
    extractor = EXTRACTORS.get(name)
    if extractor is None:
        if name in DRAWN:
            raise RequestError(
                f"condition {name!r} cannot be found from pixels, only the data set "
                f"{DRAWN[name]!r} has it; use {', '.join(CHOICES)}"
            )
        raise RequestError(f"unknown condition {name!r}; known: {', '.join((*CHOICES, *DRAWN))}")
    return _apply(extractor, images)


def hints_from_pixels(name: str, images: Tensor) -> Tensor | None:
    """Return the hints of ``images`` as :func:`extract` does, or None if pixels do not suffice."""
    extractor = {**EXTRACTORS, "outline": outline}.get(name)
    return None if extractor is None else _apply(extractor, images)


def _apply(extractor: Callable[[Picture], Picture], images: Tensor) -> Tensor:
    pixels = images.permute(0, 2, 3, 1).numpy()
    return _stack([extractor(np.ascontiguousarray(image)) for image in pixels], images)


def _stack(drawn: list[Picture], like: Tensor) -> Tensor:
    """Return hints ``(H, W)`` or ``(H, W, 3)`` as ``(N, 3, H, W)`` of the pictures' shape."""
    hints = torch.empty_like(like, memory_format=torch.contiguous_format)
    for row, hint in enumerate(drawn):
        hints[row] = torch.from_numpy(
            hint if hint.ndim == 2 else np.ascontiguousarray(hint.transpose(2, 0, 1))
        )
    return hints
