"""Undoes the privacy-preserving activation of arXiv:2409.08503."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_activation(y: Tensor, iterations: int = 60) -> Tensor:
    """u with f(u) = |u| tanh(u / 2) = y, elementwise, float64.

    Newton on u tanh(u/2) = |y| from above, where the function is convex and so falls onto the root.
    """
    target = y.double().abs()
    u = torch.sqrt(2 * target) + target
    for _ in range(iterations):
        tanh = torch.tanh(u / 2)
        slope = tanh + u / 2 * (1 - tanh * tanh)
        u = u - torch.where(
            slope > 0, (u * tanh - target) / slope.clamp_min(1e-300), torch.zeros_like(u)
        )
    return torch.copysign(u, y.double())
