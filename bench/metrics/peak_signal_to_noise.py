"""Peak signal-to-noise ratio."""

from __future__ import annotations

from torch import Tensor

from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.metrics.pairs import errors_of
from bench.metrics.squared_error import mse
from bench.types.estimate import Estimate
from bench.types.images import ImageBatch

CAP_DB = 100.0
"""The value of equal images, whose ratio is infinite."""


def psnr(claim: ImageBatch, truth: ImageBatch) -> Tensor:
    """Return 10 log10(1 / MSE) of each record, never of the pooled batch.

    Args:
        claim: N images.
        truth: the N true images, of the same size.

    Returns:
        ``(N,)`` float64 in [0, 100] dB; 100 for equal images.

    Raises:
        BenchError: claim and truth differ in number or size.

    Example:
        >>> import torch
        >>> black, white = (ImageBatch(torch.full((1, 3, 8, 8), v)) for v in (0.0, 1.0))
        >>> psnr(black, black).tolist(), psnr(white, black).abs().tolist()
        ([100.0], [0.0])
    """
    error = mse(claim, truth)
    return -10.0 * error.clamp_min(10.0 ** (-CAP_DB / 10.0)).log10()


class PSNR(Metric):
    """10 log10(1 / MSE) in dB for each record by itself, never over the pooled batch."""

    name = "psnr"
    card = Card(
        summary="Peak signal-to-noise ratio in dB, peak 1, one value a record.",
        source="standard definition",
        cost="negligible",
        notes=(
            f"Capped at {CAP_DB:g} dB, which stands for equal images; a mean of dB is not the dB "
            "of a mean."
        ),
    )
    higher_is_closer = True

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
        """Return ``(N,)`` float64 in [0, 100] dB.

        Raises:
            BenchError: claim and truth differ in number or size.
        """
        with errors_of(self.name):
            return psnr(claim.images, truth.images)
