"""Learned perceptual distance."""

from __future__ import annotations

from torch import Tensor

from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.metrics.pairs import check_pairs
from bench.types.estimate import Estimate


class LPIPS(Metric):
    """Perceptual distance by the context's backbone; values of different backbones never compare."""

    name = "lpips"
    card = Card(
        summary="Distance between deep features of claim and truth, under the backbone named in the row.",
        source="Zhang et al., CVPR 2018, arXiv:1801.03924",
        cost="one forward pass of the backbone over claim and truth",
        notes="Only under the backbone lpips-alex is it comparable to published LPIPS.",
    )
    higher_is_closer = False

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
        """``(N,)`` float64, non-negative; 0 for equal images.

        Raises:
            BenchError: claim and truth differ in number or size.
        """
        check_pairs(self.name, claim, truth)
        return (
            context.backbones.perceptual.distance(claim.images, truth.images)
            .detach()
            .cpu()
            .double()
        )

    def backbone(self, context: ScoringContext) -> str:
        """Name of the perceptual backbone."""
        return context.backbones.perceptual.name
