"""How well generated samples follow the condition they were generated from."""

from __future__ import annotations

import math

from bench.metrics.edge_agreement import edge_f1
from bench.metrics.structural_similarity import ssim
from bench.types.estimate import Estimate
from bench.types.images import ImageBatch
from bench.util.errors import BenchError
from bench.util.stats import mean_with_error

SHARE_OF_DIAGONAL = 0.0075
"""Position error that the boundary benchmark of Martin et al. (IEEE TPAMI 2004) forgives."""


def tolerance(height: int, width: int) -> int:
    """Whole pixels by which a thin outline of a sample may be off: 1 up to 188x188, 2 at 256, 5 at
    512.

    A hint of 64x64 has so many edges that half of them have one of any other picture's within a
    pixel, so matches must run the same way too. On 64 portraits F1 of pictures that ignore the hint
    then falls from .51 to .30, that of pictures that went through the autoencoder from .94 to .88.
    Without tolerance it would be .17 and .72, but .21 for a picture shifted by one pixel.
    """
    return max(1, int(SHARE_OF_DIAGONAL * math.hypot(height, width)))


def condition_fidelity(samples: ImageBatch, hints: ImageBatch, condition: str) -> dict[str, float]:
    """Compare the condition found again in the samples with the one they were made from.

    This is a property of the generator and not of an attack; ControlNet (arXiv:2302.05543) and the
    studies that follow it report such scores.

    Args:
        samples: N generated images.
        hints: their N condition images, of the same size.
        condition: kind of the hints, by its name in ``bench.data.conditions``.

    Returns:
        Means over the samples, each with its standard error as ``…_se``; nothing for hints that
        cannot be found again in pixels (noise, and those that only a data set knows).
        ``condition_ssim`` in [-1, 1]; for lines also ``condition_edge_f1`` in [0, 1]: of thin
        outlines those that lie within :func:`tolerance` and run the same way, of thick scribbles
        those that overlap; and each as ``…_chance``: the same samples against the hint of the next
        record, which is what a generator that ignores its hint would get. No chance for a single
        sample.

    Raises:
        BenchError: samples and hints differ in number or size, or there are none.
    """
    if samples.pixels.shape != hints.pixels.shape or not len(samples):
        raise BenchError(
            f"condition fidelity: {tuple(samples.pixels.shape)} samples do not pair with "
            f"{tuple(hints.pixels.shape)} hints"
        )
    from bench.data.conditions import find_again

    found = find_again(condition, samples.uint8().cpu())
    if found is None:
        return {}
    again = ImageBatch.from_uint8(found)
    scores = _scores(again, hints, "", condition=condition)
    if len(hints) > 1:
        others = hints.take([*range(1, len(hints)), 0])
        scores |= _scores(again, others, "_chance", condition=condition)
    return scores


def _scores(
    again: ImageBatch, hints: ImageBatch, ending: str, *, condition: str
) -> dict[str, float]:
    from bench.data.conditions import LINES

    scores = mean_with_error(
        f"condition_ssim{ending}", ssim("condition_ssim", Estimate(again), Estimate(hints))
    )
    if condition in LINES:
        thin = condition != "scribble"  # thick strokes are their own tolerance
        found = edge_f1(again, hints, tolerance(*hints.size) if thin else 0, directed=thin)
        scores |= mean_with_error(f"condition_edge_f1{ending}", found)
    return scores
