"""Mean squared error of the pixels."""

from __future__ import annotations

from torch import Tensor

from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.metrics.pairs import errors_of, pixel_pairs
from bench.types.estimate import Estimate
from bench.types.images import ImageBatch


def mse(claim: ImageBatch, truth: ImageBatch) -> Tensor:
    """Return the mean over channels and pixels of the squared difference, record by record.

    Args:
        claim: N images.
        truth: the N true images, of the same size.

    Returns:
        ``(N,)`` float64 in [0, 1]; 0 for equal images.

    Raises:
        BenchError: claim and truth differ in number or size.

    Example:
        >>> import torch
        >>> black, grey = (ImageBatch(torch.full((1, 3, 8, 8), v)) for v in (0.0, 0.5))
        >>> mse(grey, black).tolist()
        [0.25]
    """
    first, second = pixel_pairs(claim, truth)
    return (first - second).square().mean(dim=(1, 2, 3))


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
        """Return ``(N,)`` float64 in [0, 1]; 0 for equal images.

        Raises:
            BenchError: claim and truth differ in number or size.
        """
        with errors_of(self.name):
            return mse(claim.images, truth.images)
