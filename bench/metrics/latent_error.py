"""Normalized squared error in the latent space."""

from __future__ import annotations

from torch import Tensor

from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.metrics.pairs import errors_of
from bench.types.estimate import Estimate
from bench.util.errors import BenchError


def latent_nmse(claim: Tensor, truth: Tensor) -> Tensor | None:
    """Return the squared latent error over the squared distance of the truth from the set's mean.

    The numerator belongs to one record, the normalizer by definition to the scored set: a record
    that is scored with other records keeps its error but may change its scale.

    Args:
        claim: ``(N, ...)``, claimed latents.
        truth: ``(N, ...)``, true latents of the same shape.

    Returns:
        ``(N,)`` float64, non-negative: 0 is exact, 1 as good as the mean latent. None where a true
        latent equals the mean of the set (a single record, say), so that the scale is zero.

    Raises:
        BenchError: the latents differ in shape, or hold a value that is not finite.

    Example:
        >>> import torch
        >>> truth = torch.tensor([[0.0, 0.0], [2.0, 2.0]])
        >>> latent_nmse(torch.ones(2, 2), truth).tolist()
        [1.0, 1.0]
    """
    if claim.shape != truth.shape:
        raise BenchError(
            f"the claim's latents are {tuple(claim.shape)}, the truth's are {tuple(truth.shape)}"
        )
    guess = claim.detach().cpu().double().flatten(1)
    exact = truth.detach().cpu().double().flatten(1)
    if not bool(guess.isfinite().all() and exact.isfinite().all()):
        raise BenchError("latents hold a value that is not finite")
    spread = (exact - exact.mean(dim=0)).square().sum(dim=1)
    if bool((spread == 0).any()):
        return None
    return (guess - exact).square().sum(dim=1) / spread


class LatentNMSE(Metric):
    """Squared latent error over the squared distance of the truth from the scored set's mean."""

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
        """Return ``(N,)`` float64, non-negative, or None.

        None where claim or truth has no latents, or where :func:`latent_nmse` has no scale.

        Raises:
            BenchError: the latents differ in shape, or hold a value that is not finite.
        """
        if claim.latents is None or truth.latents is None:
            return None
        with errors_of(self.name):
            return latent_nmse(claim.latents, truth.latents)
