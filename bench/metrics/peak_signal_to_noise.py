"""Peak signal-to-noise ratio."""

from __future__ import annotations

from torch import Tensor

from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.metrics.pairs import pixel_pairs
from bench.types.estimate import Estimate

CAP_DB = 100.0


class PSNR(Metric):
    """10 log10(1 / MSE) in dB for each record by itself, never over the pooled batch."""

    name = "psnr"
    card = Card(
        summary="Peak signal-to-noise ratio in dB, peak 1, one value a record.",
        source="standard definition",
        cost="negligible",
        notes=f"Capped at {CAP_DB:g} dB, which stands for equal images; a mean of dB is not the dB of a mean.",
    )
    higher_is_closer = True

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
        """``(N,)`` float64 in [0, 100] dB.

        Raises:
            BenchError: claim and truth differ in number or size.
        """
        first, second = pixel_pairs(self.name, claim, truth)
        error = (first - second).square().mean(dim=(1, 2, 3))
        return -10.0 * error.clamp_min(10.0 ** (-CAP_DB / 10.0)).log10()
