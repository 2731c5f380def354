"""Agreement of edge maps."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from bench.interfaces import plugin
from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.metrics.pairs import check_pairs
from bench.types.estimate import Estimate
from bench.types.images import ImageBatch

DIRECTIONS = 8
"""Channels of 22.5 degrees each; neighbours match."""


def edge_f1(
    first: ImageBatch, second: ImageBatch, tolerance: int = 1, *, directed: bool = False
) -> Tensor:
    """F1 of two edge maps, symmetric in its arguments.

    Both are binarised where their grey value (mean of the channels) exceeds 0.5. A pixel of one map
    is matched if the other has an edge within ``tolerance`` pixels (Chebyshev distance).

    Args:
        directed: a match must also run the same way, to within 45 degrees, as in oriented chamfer
            matching (Shotton et al., IEEE TPAMI 2008): among many edges one that is near by chance
            seldom does. For lines a few pixels wide.

    Returns:
        ``(N,)`` float64 in [0, 1]; 1 where both maps are empty, 0 where just one is.
    """
    one, two = (
        b.pixels.detach().cpu().double().mean(dim=1, keepdim=True) > 0.5 for b in (first, second)
    )
    if directed:
        one, two = by_direction(one), by_direction(two)
    matched_one = _share(one, two, tolerance)
    matched_two = _share(two, one, tolerance)
    total = matched_one + matched_two
    score = 2.0 * matched_one * matched_two / total.clamp_min(1e-12)
    empty = ~(one.flatten(1).any(dim=1) | two.flatten(1).any(dim=1))
    return score.masked_fill(empty, 1.0)


def _share(edges: Tensor, others: Tensor, tolerance: int) -> Tensor:
    """Share of ``edges`` that lie near one of ``others``, ``(N,)``; 0 where there are none.

    Both are ``(N, K, H, W)``: one channel, or one for each of :data:`DIRECTIONS`.
    """
    near = (
        functional.max_pool2d(others.double(), 2 * tolerance + 1, stride=1, padding=tolerance) > 0.5
    )
    if near.shape[1] > 1:
        near = near | near.roll(1, dims=1) | near.roll(-1, dims=1)
    count = edges.flatten(1).sum(dim=1)
    return (edges & near).flatten(1).sum(dim=1).double() / count.clamp_min(1)


def by_direction(edges: Tensor) -> Tensor:
    """Edge pixels ``(N, 1, H, W)`` dealt out to channels by the direction of their line, ``(N, 8,
    H, W)``.

    The direction is that of the structure tensor (Bigun and Granlund, ICCV 1987).
    """
    smooth = functional.pad(_gauss(edges.double(), 1.0), (1, 1, 1, 1), mode="replicate")
    right = smooth[..., 1:-1, 2:] - smooth[..., 1:-1, :-2]
    down = smooth[..., 2:, 1:-1] - smooth[..., :-2, 1:-1]
    angle = torch.atan2(_gauss(2 * right * down, 1.5), _gauss(right**2 - down**2, 1.5)) / 2
    # Rounded, so that upright and level lines lie in the middle of a channel.
    number = (angle / torch.pi * DIRECTIONS).round().long() % DIRECTIONS
    return edges & (number == torch.arange(DIRECTIONS).view(1, -1, 1, 1))


def _gauss(values: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing of ``(N, 1, H, W)``."""
    reach = int(3 * sigma + 0.5)
    at = torch.arange(-reach, reach + 1, dtype=values.dtype)
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = functional.pad(values, (reach,) * 4, mode="replicate")
    return functional.conv2d(
        functional.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1)
    )


class EdgeF1(Metric):
    """F1 of the claimed edge map against the true one, with a small tolerance in position."""

    name = "edge_f1"
    targets = frozenset({"condition"})
    card = Card(
        summary="F1 of edge pixels (grey above 0.5) that have a counterpart within one pixel.",
        source="boundary benchmark of Martin et al., IEEE TPAMI 2004, with tolerance in place of assignment",
        cost="negligible",
        notes="Means what it says for line-like conditions only; a white image scores above 0.",
    )
    higher_is_closer = True

    class Params(plugin.Params):
        """Attributes: tolerance: pixels by which an edge may be off."""

        tolerance: int = Field(1, ge=0, le=16)

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
        """``(N,)`` float64 in [0, 1].

        Raises:
            BenchError: claim and truth differ in number or size.
        """
        check_pairs(self.name, claim, truth)
        return edge_f1(claim.images, truth.images, self.params.tolerance)
