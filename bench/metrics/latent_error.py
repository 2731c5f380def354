"""Normalized error in the latent space."""

from __future__ import annotations

from torch import Tensor

from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.types.estimate import Estimate
from bench.util.errors import BenchError


class LatentNMSE(Metric):
    """Squared latent error over the squared distance of the truth from the scored set's mean.

    The numerator is a matter of one record; the normalizer is by definition one of the scored set.
    So a record scored with other companions keeps its error but may change its scale.
    """

    name = "latent_nmse"
    card = Card(
        summary="Squared latent error relative to guessing the mean latent of the scored records.",
        source="this project; the theory curve 1 / (1 + SNR) of Gaussian denoising applies to it",
        needs="an attack that claims latents, and at least two different records",
        cost="negligible",
        notes="0 is exact, 1 is as good as the mean latent; unbounded above.",
    )
    higher_is_closer = False

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor | None:
        """``(N,)`` float64, non-negative, or None.

        None where claim or truth has no latents, or where a true latent equals the mean of the set
        (a single record, say), so that there is nothing to normalize by.

        Raises:
            BenchError: the latents differ in shape, or hold a value that is not finite.
        """
        if claim.latents is None or truth.latents is None:
            return None
        if claim.latents.shape != truth.latents.shape:
            raise BenchError(
                f"{self.name}: the claim's latents are {tuple(claim.latents.shape)}, "
                f"the truth's are {tuple(truth.latents.shape)}"
            )
        guess = claim.latents.detach().cpu().double().flatten(1)
        exact = truth.latents.detach().cpu().double().flatten(1)
        if not bool(guess.isfinite().all() and exact.isfinite().all()):
            raise BenchError(f"{self.name}: latents hold a value that is not finite")
        spread = (exact - exact.mean(dim=0)).square().sum(dim=1)
        if bool((spread == 0).any()):
            return None
        return (guess - exact).square().sum(dim=1) / spread
