"""What the metrics share: a claim and its truth, brought side by side."""

from __future__ import annotations

from torch import Tensor

from bench.errors import BenchError
from bench.interfaces import Estimate


def check_pairs(metric: str, claim: Estimate, truth: Estimate) -> None:
    """Refuse a claim whose pictures cannot be compared with the truth one to one.

    Raises:
        BenchError: the number of records or the picture size differs.
    """
    got, wanted = tuple(claim.images.pixels.shape), tuple(truth.images.pixels.shape)
    if got != wanted:
        raise BenchError(f"{metric}: the claim's images are {got}, the truth's are {wanted}")


def pixel_pairs(metric: str, claim: Estimate, truth: Estimate) -> tuple[Tensor, Tensor]:
    """Claimed and true pixels, each ``(N, 3, H, W)`` float64 in [0, 1] on the CPU.

    Raises:
        BenchError: the number of records or the picture size differs.
    """
    check_pairs(metric, claim, truth)
    return claim.images.pixels.detach().cpu().double(), truth.images.pixels.detach().cpu().double()
