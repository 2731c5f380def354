"""A metric: mean absolute error of the pixels."""

from __future__ import annotations

from torch import Tensor

from bench.interfaces import Card, Estimate, Metric, ScoringContext
from bench.metrics.pairs import pixel_pairs


class ToyMAE(Metric):
    """Mean over channels and pixels of the absolute difference; in [0, 1]."""

    name = "toy-mae"
    card = Card(summary="Mean absolute error of the pixels.", source="standard definition")
    higher_is_closer = False

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
        """``(N,)`` float64 in [0, 1]; 0 for equal images."""
        first, second = pixel_pairs(claim.images, truth.images)
        return (first - second).abs().mean(dim=(1, 2, 3))
