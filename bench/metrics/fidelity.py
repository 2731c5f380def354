"""How well generated samples follow the condition they were generated from."""

from __future__ import annotations

from bench.errors import BenchError
from bench.images import ImageBatch
from bench.interfaces import Estimate
from bench.metrics.edge_f1 import edge_f1
from bench.metrics.ssim import ssim


def condition_fidelity(samples: ImageBatch, hints: ImageBatch, condition: str) -> dict[str, float]:
    """Compare the condition extracted again from the samples with the one they were made from.

    This is a property of the generator and not of an attack; ControlNet (arXiv:2302.05543) and the
    studies that follow it report such scores.

    Args:
        samples: N generated images.
        hints: their N condition images, of the same size.
        condition: name of the extractor in ``bench.data.conditions``.

    Returns:
        Means over the samples: ``condition_edge_f1`` in [0, 1] and ``condition_ssim`` in [-1, 1].

    Raises:
        BenchError: samples and hints differ in number or size, or there are none.
    """
    if samples.pixels.shape != hints.pixels.shape or not len(samples):
        raise BenchError(
            f"condition fidelity: {tuple(samples.pixels.shape)} samples do not pair with "
            f"{tuple(hints.pixels.shape)} hints"
        )
    from bench.data.conditions import extract

    again = ImageBatch.from_uint8(extract(condition, samples.uint8().cpu()))
    return {
        "condition_edge_f1": float(edge_f1(again, hints).mean()),
        "condition_ssim": float(ssim("condition_ssim", Estimate(again), Estimate(hints)).mean()),
    }
