"""What the metrics share: a claim and its truth, brought side by side."""

from __future__ import annotations

from torch import Tensor

from bench.types.estimate import Estimate
from bench.types.texts import Texts
from bench.util.errors import BenchError


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


def check_texts(metric: str, claim: Texts, truth: Texts) -> None:
    """Refuse a claim of another number of texts than there are true ones.

    Raises:
        BenchError: the number of records differs.
    """
    if len(claim) != len(truth):
        raise BenchError(f"{metric}: the claim has {len(claim)} texts, the truth {len(truth)}")
