"""Batches of an epoch."""

from __future__ import annotations

import torch

from bench.interfaces import generator


def epoch_batches(count: int, batch_size: int, epoch: int, seed: int) -> list[list[int]]:
    """One pass over the records in a fresh order; the last batch may be smaller."""
    order = torch.randperm(count, generator=generator(seed, "order", str(epoch))).tolist()
    return [order[i : i + batch_size] for i in range(0, count, batch_size)]
