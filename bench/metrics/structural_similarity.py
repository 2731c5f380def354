"""Structural similarity."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.metrics.pairs import pixel_pairs
from bench.types.estimate import Estimate
from bench.util.errors import BenchError

WINDOW = 11  # what a Gaussian of sigma 1.5 truncated at 3.5 sigma spans


def ssim(metric: str, claim: Estimate, truth: Estimate) -> Tensor:
    """SSIM of every record, ``(N,)`` float64 in [-1, 1].

    Args:
        metric: the name to put into an error message.

    Raises:
        BenchError: claim and truth differ in number or size, or are smaller than the window.
    """
    first, second = pixel_pairs(metric, claim, truth)
    height, width = claim.images.size
    if min(height, width) < WINDOW:
        raise BenchError(
            f"{metric}: images must be at least {WINDOW}x{WINDOW} pixels, got {height}x{width}"
        )
    from skimage.metrics import structural_similarity

    values = [
        float(
            structural_similarity(  # type: ignore[no-untyped-call]
                a.numpy(),
                b.numpy(),
                channel_axis=0,
                data_range=1.0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        )
        for a, b in zip(first, second, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64)


class SSIM(Metric):
    """Structural similarity with the original paper's Gaussian window, averaged over channels."""

    name = "ssim"
    card = Card(
        summary="Structural similarity (11x11 Gaussian window, sigma 1.5, data range 1), mean over channels.",
        source="Wang et al., IEEE TIP 2004; computed by scikit-image",
        needs=f"images of at least {WINDOW}x{WINDOW} pixels",
        cost="about 5 ms a 64x64 record",
    )
    higher_is_closer = True

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
        """``(N,)`` float64 in [-1, 1]; 1 for equal images.

        Raises:
            BenchError: claim and truth differ in number or size, or are smaller than the window.
        """
        return context.once(
            ("ssim", claim.images, truth.images), lambda: ssim(self.name, claim, truth)
        )
