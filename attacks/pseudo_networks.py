"""A stand-in for a hint block whose weights are not known, and what tells its features from the true ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SCALES = tuple(2.0**k for k in range(-3, 2))
"""Of the Gaussian kernels, as multiples of the mean squared distance (FORA, arXiv:2405.04115, section 4)."""


class PseudoHint(nn.Module):
    """Condition pixels in [0, 1] to features of the latent's size; another architecture than the victim's, on purpose.

    Args:
        channels: of the features.
        factor: pixels a side of one latent, a power of two.
    """

    def __init__(self, channels: int, factor: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.SiLU()]
        for _ in range(round(math.log2(factor))):
            layers += [nn.Conv2d(width, width, 3, 2, padding=1), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, width, 3, padding=1), nn.SiLU())
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, condition: Tensor) -> Tensor:
        """``(B, channels, h, w)``."""
        found: Tensor = self.last(self.layers(condition * 2 - 1))
        return found


class Critic(nn.Module):
    """How much a map looks like one of the victim's: a logit for each patch of it."""

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
        """``(B, 1, h / 2, w / 2)``."""
        found: Tensor = self.layers(maps)
        return found


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two samples under a sum of Gaussian kernels, a scalar.

    The biased estimate (Gretton et al. 2012), 0 for equal samples.

    Args:
        first, second: ``(N, D)`` and ``(M, D)``.
    """
    both = torch.cat([first, second])
    far = torch.cdist(both, both).square()
    typical = far.detach().mean().clamp_min(1e-12)
    kernel = torch.stack([torch.exp(-far / (scale * typical)) for scale in SCALES]).mean(0)
    n = len(first)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def pooled(maps: Tensor) -> Tensor:
    """Means and deviations over a grid of 4x4 fields, ``(B, 2 * C * 16)``: what the two samples are compared by."""
    mean = nn.functional.adaptive_avg_pool2d(maps, 4)
    square = nn.functional.adaptive_avg_pool2d(maps.square(), 4)
    return torch.cat([mean, (square - mean.square()).clamp_min(1e-8).sqrt()], 1).flatten(1)
