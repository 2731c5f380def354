"""Noise that is fixed for each record and unknown without the client's secret."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.interfaces import generator


def per_record_noise(
    secret: int, purpose: str, record_ids: Sequence[str], shape: tuple[int, ...]
) -> Tensor:
    """Return standard normal noise ``(len(record_ids), *shape)`` float32.

    A row depends on nothing but ``secret``, ``purpose`` and the record's id.
    """
    return torch.stack(
        [torch.randn(shape, generator=generator(secret, purpose, name)) for name in record_ids]
    )
