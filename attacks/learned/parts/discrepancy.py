"""Distances between two samples of feature maps: a kernel discrepancy, and a learned critic."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SCALES = tuple(2.0**k for k in range(-3, 2))
"""Scales of the Gaussian kernels as multiples of the median squared distance (arXiv:2405.04115)."""


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy under the mean of five Gaussian kernels.

    This is the biased estimate (Gretton et al., JMLR 2012, equation 5): 0 for equal samples, never
    negative. A kernel is exp(-d^2 / (scale x median d^2)) with the median over all pairs of
    different points, so units do not matter.

    Args:
        first: ``(N, D)``.
        second: ``(M, D)``.
    """
    both = torch.cat([first, second])
    # cdist is not used because its slope is not finite where two points coincide.
    square = both.square().sum(1)
    far = (square[:, None] + square[None] - 2 * both @ both.T).clamp_min(0)
    pairs = ~torch.eye(len(both), dtype=torch.bool, device=both.device)
    typical = far.detach()[pairs].median().clamp_min(1e-12)
    kernel = torch.stack([torch.exp(-far / (scale * typical)) for scale in SCALES]).mean(0)
    n = len(first)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def cells(maps: Tensor, places: Tensor) -> Tensor:
    """Return the channels at some places of the maps, each with its position, ``(P, C + 2)``.

    With its position a cell tells what is typical at each place, which aligned pictures share.

    Args:
        maps: ``(B, C, h, w)``.
        places: ``(P,)`` numbers below B x h x w.
    """
    _, channels, height, width = maps.shape
    flat = maps.permute(0, 2, 3, 1).reshape(-1, channels)[places]
    where = places % (height * width)
    row, column = (
        where // width * 2 / max(1, height - 1) - 1,
        where % width * 2 / max(1, width - 1) - 1,
    )
    # The position gets the weight of the features, of which there may be many.
    position = torch.stack([row, column], 1).to(flat) * (channels / 8) ** 0.5
    return torch.cat([flat, position], 1)


class Critic(nn.Module):
    """Scores patches of a map by how much they look like the victim's: one logit per patch."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, 2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits ``(B, 1, h / 2, w / 2)`` of maps ``(B, C, h, w)``."""
        logits: Tensor = self.layers(maps)
        return logits


def verdict(logits: Tensor, real: bool) -> Tensor:
    """Return the cross-entropy of a critic's logits with the true answer."""
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))
