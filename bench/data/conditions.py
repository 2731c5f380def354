"""Hint images computed from pictures, shared by data sets and by the evaluator of edge fidelity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import RequestError

REFERENCE_SIZE = 64
LUMA = (0.299, 0.587, 0.114)


def canny(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """White one-pixel outlines on black of an ``(H, W, 3)`` picture, ``(H, W)`` in {0, 255}.

    The smoothing width grows with the square root of the picture's side, so that a larger picture keeps
    detail but loses grain. The thresholds are absolute (on grey in [0, 1]): a flat picture has no edges.
    """
    from skimage.feature import canny as detect

    grey = image.astype(np.float64) @ np.asarray(LUMA) / 255.0
    sigma = max(0.6, float(np.sqrt(min(grey.shape) / REFERENCE_SIZE)))
    # Smoothing spreads an edge, so that its gradient falls as sigma rises.
    edges: NDArray[np.bool_] = detect(  # type: ignore[no-untyped-call]
        grey, sigma=sigma, low_threshold=0.08 / sigma, high_threshold=0.20 / sigma
    )
    return np.where(edges, np.uint8(255), np.uint8(0))


EXTRACTORS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {"canny": canny}


def extract(name: str, images: Tensor) -> Tensor:
    """Hint images of ``images``.

    Args:
        name: one of :data:`EXTRACTORS`.
        images: ``(N, 3, H, W)`` uint8.

    Returns:
        ``(N, 3, H, W)`` uint8, the three channels alike for outlines.

    Raises:
        RequestError: unknown name.
    """
    extractor = EXTRACTORS.get(name)
    if extractor is None:
        raise RequestError(f"unknown condition {name!r}; known: {', '.join(sorted(EXTRACTORS))}")
    hints = torch.empty_like(images, memory_format=torch.contiguous_format)
    for row, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        hints[row] = torch.from_numpy(extractor(np.ascontiguousarray(image)))
    return hints
