"""Success of a reconstruction: similarity above a fixed threshold."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from bench.interfaces import plugin
from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.metrics.pairs import errors_of
from bench.metrics.structural_similarity import shared_ssim
from bench.types.estimate import Estimate


class SuccessParams(plugin.Params):
    """The level from which a reconstruction counts.

    Attributes:
        threshold: SSIM above which a record counts as recovered, in (-1, 1).
    """

    threshold: float = Field(0.3, gt=-1.0, lt=1.0)


class Success(Metric):
    """1 where SSIM exceeds a threshold fixed beforehand; its mean is the attack success rate."""

    name = "success"
    card = Card(
        summary=(
            "1 where SSIM > 0.3, the level from which reconstructions were called recognisable, "
            "else 0."
        ),
        source="He, Zhang, Lee, ACSAC 2019 (model inversion against collaborative inference)",
        needs="images of at least 11x11 pixels",
        cost="that of ssim",
        notes="The threshold is a convention: read it beside ssim and the mean-image control.",
    )
    higher_is_closer = True
    share = True

    Params = SuccessParams

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
        """Return ``(N,)`` float64, 0 or 1.

        Raises:
            BenchError: claim and truth differ in number or size, or are smaller than the window.
        """
        limit: float = self.params.threshold
        with errors_of(self.name):
            values = shared_ssim(claim, truth, context)
        return (values > limit).double()
