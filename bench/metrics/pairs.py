"""What the metrics share: a claim and its truth as a pair, and errors that name the metric."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from bench.types.images import ImageBatch
from bench.types.texts import Texts
from bench.util.errors import BenchError


def check_pairs(claim: ImageBatch, truth: ImageBatch) -> None:
    """Refuse a claim whose images cannot be compared with the truth one to one.

    Raises:
        BenchError: the number of records or the image size differs.
    """
    claimed, wanted = tuple(claim.pixels.shape), tuple(truth.pixels.shape)
    if claimed != wanted:
        raise BenchError(f"the claim's images are {claimed}, the truth's are {wanted}")


def pixel_pairs(claim: ImageBatch, truth: ImageBatch) -> tuple[Tensor, Tensor]:
    """Return claimed and true pixels, each ``(N, 3, H, W)`` float64 in [0, 1] on the CPU.

    Raises:
        BenchError: the number of records or the image size differs.
    """
    check_pairs(claim, truth)
    return claim.pixels.detach().cpu().double(), truth.pixels.detach().cpu().double()


def check_texts(claim: Texts, truth: Texts) -> None:
    """Refuse a claim that has more or fewer texts than the truth.

    Raises:
        BenchError: the number of records differs.
    """
    if len(claim) != len(truth):
        raise BenchError(f"the claim has {len(claim)} texts, the truth {len(truth)}")


@contextmanager
def errors_of(metric: str) -> Iterator[None]:
    """Put the name of a metric before the message of every error raised inside.

    Raises:
        BenchError: what was raised inside, as ``metric: message``.
    """
    try:
        yield
    except BenchError as error:
        raise BenchError(f"{metric}: {error}") from error
