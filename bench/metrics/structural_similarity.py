"""Structural similarity (Wang et al., IEEE TIP 2004)."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.interfaces.metric import Metric, ScoringContext
from bench.interfaces.plugin import Card
from bench.metrics.pairs import errors_of, pixel_pairs
from bench.types.estimate import Estimate
from bench.types.images import ImageBatch
from bench.util.errors import BenchError

WINDOW = 11
"""Pixels that a Gaussian of sigma 1.5 spans where it is truncated at 3.5 sigma."""


def ssim(claim: ImageBatch, truth: ImageBatch) -> Tensor:
    """Return the structural similarity of each claimed image to its true image.

    Computed by scikit-image with the original paper's Gaussian window (11x11, sigma 1.5) and data
    range 1, as the mean over pixels and channels.

    Args:
        claim: N images.
        truth: the N true images, of the same size.

    Returns:
        ``(N,)`` float64 in [-1, 1]; 1 for equal images.

    Raises:
        BenchError: claim and truth differ in number or size, or are smaller than the window.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> truth = ImageBatch(torch.rand(2, 3, 16, 16, generator=generator))
        >>> claim = ImageBatch(torch.stack([truth.pixels[0], 1 - truth.pixels[1]]))
        >>> [round(value, 2) for value in ssim(claim, truth).tolist()]
        [1.0, -0.95]
    """
    first, second = pixel_pairs(claim, truth)
    height, width = claim.size
    if min(height, width) < WINDOW:
        raise BenchError(
            f"SSIM needs images of at least {WINDOW}x{WINDOW} pixels, got {height}x{width}"
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


def shared_ssim(claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
    """Return :func:`ssim`, computed once for all metrics of one context that need it, ``(N,)``."""
    return context.once(
        ("ssim", claim.images, truth.images), lambda: ssim(claim.images, truth.images)
    )


class SSIM(Metric):
    """Structural similarity with the original paper's Gaussian window, averaged over channels."""

    name = "ssim"
    card = Card(
        summary=(
            "Structural similarity (11x11 Gaussian window, sigma 1.5, data range 1), mean over "
            "channels."
        ),
        source="Wang et al., IEEE TIP 2004; computed by scikit-image",
        needs=f"images of at least {WINDOW}x{WINDOW} pixels",
        cost="about 5 ms a 64x64 record",
    )
    higher_is_closer = True

    def score(self, claim: Estimate, truth: Estimate, context: ScoringContext) -> Tensor:
        """Return ``(N,)`` float64 in [-1, 1]; 1 for equal images.

        Raises:
            BenchError: claim and truth differ in number or size, or are smaller than the window.
        """
        with errors_of(self.name):
            return shared_ssim(claim, truth, context)
