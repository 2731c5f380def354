"""Distance correlation: how much two sets of vectors of any widths move together."""

from __future__ import annotations

import torch
from torch import Tensor


def distance_correlation(x: Tensor, y: Tensor) -> Tensor:
    """dCor of the sample, in [0, 1]; differentiable (Szekely, Rizzo & Bakirov 2007, definitions 4
    and 5).

    Biased upwards for few records of many numbers; for a measurement, see
    ``corrected_distance_correlation``.

    Args:
        x: ``(N, ...)``, N >= 2.
        y: ``(N, ...)``, its rows aligned with those of ``x``.
    """
    a, b = (_centred(_distances(v)) for v in (x, y))
    scale = (a.square().mean() * b.square().mean()).clamp_min(1e-24).sqrt()
    return ((a * b).mean() / scale).clamp_min(1e-12).sqrt()


def corrected_distance_correlation(x: Tensor, y: Tensor) -> float:
    """The bias-corrected R* in [-1, 1], 0 in the mean for independent vectors (Szekely & Rizzo
    2013, 2014).

    Args:
        x: ``(N, ...)``, N >= 4.
        y: ``(N, ...)``, its rows aligned with those of ``x``.

    Returns:
        NaN for fewer records or where one side is constant.
    """
    if len(x) < 4:
        return float("nan")
    a, b = (_u_centred(_distances(v.detach().double())) for v in (x, y))
    scale = (a.square().sum() * b.square().sum()).sqrt()
    return float((a * b).sum() / scale) if float(scale) > 0 else float("nan")


def _distances(x: Tensor) -> Tensor:
    flat = x.flatten(1)
    return torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")


def _centred(d: Tensor) -> Tensor:
    return d - d.mean(0, keepdim=True) - d.mean(1, keepdim=True) + d.mean()


def _u_centred(d: Tensor) -> Tensor:
    """The U-centred matrix (Szekely & Rizzo 2014, definition 2): zero diagonal, rows sum to zero off it."""
    n = len(d)
    rows = d.sum(1, keepdim=True) / (n - 2)
    centred = d - rows - rows.T + d.sum() / ((n - 1) * (n - 2))
    return centred.fill_diagonal_(0.0)
