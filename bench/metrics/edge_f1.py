"""Agreement of edge maps."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from bench import plugin
from bench.images import ImageBatch
from bench.interfaces import Estimate, Metric, ScoringContext
from bench.metrics.pairs import check_pairs
from bench.plugin import Card


def edge_f1(first: ImageBatch, second: ImageBatch, tolerance: int = 1) -> Tensor:
    """F1 of two edge maps, symmetric in its arguments.

    Both are binarised where their grey value (mean of the channels) exceeds 0.5. A pixel of one map is
    matched if the other has an edge within ``tolerance`` pixels (Chebyshev distance).

    Returns:
        ``(N,)`` float64 in [0, 1]; 1 where both maps are empty, 0 where just one is.
    """
    one, two = (b.pixels.detach().cpu().double().mean(dim=1, keepdim=True) > 0.5 for b in (first, second))
    matched_one = _share(one, two, tolerance)
    matched_two = _share(two, one, tolerance)
    total = matched_one + matched_two
    score = 2.0 * matched_one * matched_two / total.clamp_min(1e-12)
    empty = ~(one.flatten(1).any(dim=1) | two.flatten(1).any(dim=1))
    return score.masked_fill(empty, 1.0)


def _share(edges: Tensor, others: Tensor, tolerance: int) -> Tensor:
    """Share of ``edges`` that lie near one of ``others``, ``(N,)``; 0 where there are none."""
    near = functional.max_pool2d(others.double(), 2 * tolerance + 1, stride=1, padding=tolerance) > 0.5
    count = edges.flatten(1).sum(dim=1)
    return (edges & near).flatten(1).sum(dim=1).double() / count.clamp_min(1)


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
