"""Mean squared error of the pixels."""

from __future__ import annotations

from torch import Tensor

from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.metrics.pairs import pixel_pairs
from bench.types.estimate import Estimate


class MSE(Metric):
    """Mean over channels and pixels of the squared difference; in [0, 1]."""

    name = "mse"
    card = Card(
        summary="Mean squared error of the pixels, of images in [0, 1].",
        source="standard definition",
        cost="negligible",
        notes="Rewards blurred guesses: compare with the mean-image control.",
    )
    higher_is_closer = False

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
        """``(N,)`` float64 in [0, 1]; 0 for equal images.

        Raises:
            BenchError: claim and truth differ in number or size.
        """
        first, second = pixel_pairs(self.name, claim, truth)
        return (first - second).square().mean(dim=(1, 2, 3))
