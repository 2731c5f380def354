"""Noise that belongs to a record: the same at every release, unknown without the client's secret."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.interfaces import generator


def per_record_noise(
    secret: int, purpose: str, record_ids: Sequence[str], shape: tuple[int, ...]
) -> Tensor:
    """Standard normal ``(len(record_ids), *shape)`` float32; a row depends on secret, purpose and record alone."""
    return torch.stack(
        [torch.randn(shape, generator=generator(secret, purpose, name)) for name in record_ids]
    )
