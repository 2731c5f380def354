"""Agreement of edge maps, with a tolerance in position."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from bench.interfaces import plugin
from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.metrics.pairs import check_pairs, errors_of
from bench.types.estimate import Estimate
from bench.types.images import ImageBatch

DIRECTIONS = 8
"""Channels of 22.5 degrees each; neighbours match."""


def edge_f1(
    claim: ImageBatch, truth: ImageBatch, tolerance: int = 1, *, directed: bool = False
) -> Tensor:
    """Return the F1 of claimed and true edge maps; it is symmetric in the two.

    Both are binarised where their grey value (mean of the channels) exceeds 0.5. A pixel of one map
    is matched if the other has an edge within ``tolerance`` pixels (Chebyshev distance).

    Args:
        claim: N edge maps.
        truth: the N true edge maps, of the same size.
        tolerance: pixels by which a matching edge may be off.
        directed: a match must also run the same way, to within 45 degrees, as in oriented chamfer
            matching (Shotton et al., IEEE TPAMI 2008): among many edges, one that is near by
            chance seldom does. For lines a few pixels wide.

    Returns:
        ``(N,)`` float64 in [0, 1]; 1 where both maps are empty, 0 where just one is.

    Raises:
        BenchError: claim and truth differ in number or size.

    Example:
        >>> lines = torch.zeros(2, 3, 8, 8)
        >>> lines[0, :, :, 3] = lines[1, :, :, 7] = 1.0
        >>> shifted = ImageBatch(lines.roll(1, dims=3))
        >>> edge_f1(shifted, ImageBatch(lines)).tolist()
        [1.0, 0.0]
    """
    check_pairs(claim, truth)
    one, two = (
        b.pixels.detach().cpu().double().mean(dim=1, keepdim=True) > 0.5 for b in (claim, truth)
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
    """Return the share of edge pixels that lie near another map's edge; 0 where there are none.

    Args:
        edges: ``(N, K, H, W)`` bool: one channel, or one for each of :data:`DIRECTIONS`.
        others: ``(N, K, H, W)`` bool, the other maps.
        tolerance: greatest Chebyshev distance in pixels that is near.

    Returns:
        ``(N,)`` float64 in [0, 1].
    """
    near = (
        functional.max_pool2d(others.double(), 2 * tolerance + 1, stride=1, padding=tolerance) > 0.5
    )
    if near.shape[1] > 1:
        near = near | near.roll(1, dims=1) | near.roll(-1, dims=1)
    count = edges.flatten(1).sum(dim=1)
    return (edges & near).flatten(1).sum(dim=1).double() / count.clamp_min(1)


def by_direction(edges: Tensor) -> Tensor:
    """Return edge pixels in channels by the direction of their line.

    The direction is that of the structure tensor (Bigun and Granlund, ICCV 1987).

    Args:
        edges: ``(N, 1, H, W)`` bool.

    Returns:
        ``(N, 8, H, W)`` bool.
    """
    smooth = functional.pad(_gauss(edges.double(), 1.0), (1, 1, 1, 1), mode="replicate")
    right = smooth[..., 1:-1, 2:] - smooth[..., 1:-1, :-2]
    down = smooth[..., 2:, 1:-1] - smooth[..., :-2, 1:-1]
    angle = torch.atan2(_gauss(2 * right * down, 1.5), _gauss(right**2 - down**2, 1.5)) / 2
    # Rounded, so that upright and level lines lie in the middle of a channel.
    number = (angle / torch.pi * DIRECTIONS).round().long() % DIRECTIONS
    return edges & (number == torch.arange(DIRECTIONS).view(1, -1, 1, 1))


def _gauss(values: Tensor, sigma: float) -> Tensor:
    """Return values ``(N, 1, H, W)`` smoothed by a Gaussian, of the same shape."""
    reach = int(3 * sigma + 0.5)
    at = torch.arange(-reach, reach + 1, dtype=values.dtype)
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = functional.pad(values, (reach,) * 4, mode="replicate")
    return functional.conv2d(
        functional.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1)
    )


class EdgeF1Params(plugin.Params):
    """How exactly edges must agree.

    Attributes:
        tolerance: pixels by which an edge may be off.
    """

    tolerance: int = Field(1, ge=0, le=16)


class EdgeF1(Metric):
    """F1 of the claimed edge map against the true one, with a small tolerance in position."""

    name = "edge_f1"
    targets = frozenset({"condition"})
    card = Card(
        summary="F1 of edge pixels (grey above 0.5) that have a counterpart within one pixel.",
        source=(
            "boundary benchmark of Martin et al., IEEE TPAMI 2004, with tolerance in place of "
            "assignment"
        ),
        cost="negligible",
        notes="Means what it says for line-like conditions only; a white image scores above 0.",
    )
    higher_is_closer = True

    Params = EdgeF1Params

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
        """Return ``(N,)`` float64 in [0, 1].

        Raises:
            BenchError: claim and truth differ in number or size.
        """
        with errors_of(self.name):
            return edge_f1(claim.images, truth.images, self.params.tolerance)
