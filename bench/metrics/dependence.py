"""Distance correlation: statistical dependence of two sets of vectors of any widths."""

from __future__ import annotations

import torch
from torch import Tensor


def distance_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Return the distance correlation of a sample, differentiably.

    Szekely, Rizzo & Bakirov, Annals of Statistics 2007, definitions 4 and 5. Biased
    upwards for few records of many numbers; ``corrected_distance_correlation`` is not.

    Args:
        x: ``(N, ...)``, N >= 2.
        y: ``(N, ...)``, its rows aligned with those of ``x``.

    Returns:
        A scalar in [0, 1].

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [4.0]])
        >>> round(float(distance_correlation(x, 2 * x)), 4)
        1.0
    """
    a, b = (_centred(_distances(v)) for v in (x, y))
    scale = (a.square().mean() * b.square().mean()).clamp_min(1e-24).sqrt()
    return ((a * b).mean() / scale).clamp_min(1e-12).sqrt()


def corrected_distance_correlation(x: Tensor, y: Tensor) -> float:
    """Return the bias-corrected distance correlation R* of a sample.

    Szekely & Rizzo 2013, 2014. Its mean is 0 for independent vectors.

    Args:
        x: ``(N, ...)``, N >= 4.
        y: ``(N, ...)``, its rows aligned with those of ``x``.

    Returns:
        A number in [-1, 1]; NaN for fewer records, or where one side is constant.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [4.0], [9.0]])
        >>> round(corrected_distance_correlation(x, -x), 4)
        1.0
    """
    if len(x) < 4:
        return float("nan")
    a, b = (_u_centred(_distances(v.detach().double())) for v in (x, y))
    scale = (a.square().sum() * b.square().sum()).sqrt()
    return float((a * b).sum() / scale) if float(scale) > 0 else float("nan")


def _distances(x: Tensor) -> Tensor:
    """Return the Euclidean distance of every two rows, ``(N, N)``."""
    flat = x.flatten(1)
    return torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")


def _centred(d: Tensor) -> Tensor:
    """Return the doubly centred matrix, ``(N, N)``: every row and column has mean 0."""
    return d - d.mean(0, keepdim=True) - d.mean(1, keepdim=True) + d.mean()


def _u_centred(d: Tensor) -> Tensor:
    """Return the U-centred matrix, ``(N, N)``: zero diagonal, and every row sums to zero.

    Szekely & Rizzo 2014, definition 2.
    """
    n = len(d)
    rows = d.sum(1, keepdim=True) / (n - 2)
    centred = d - rows - rows.T + d.sum() / ((n - 1) * (n - 2))
    return centred.fill_diagonal_(0.0)
