"""The order in which a victim visits its records."""

from __future__ import annotations

import torch

from bench.interfaces import TrainingPlan, generator


def epoch_batches(count: int, batch_size: int, epoch: int, seed: int) -> list[list[int]]:
    """Return one pass over ``count`` records in a new random order.

    The last batch may be smaller than ``batch_size``.
    """
    order = torch.randperm(count, generator=generator(seed, "order", str(epoch))).tolist()
    return [order[i : i + batch_size] for i in range(0, count, batch_size)]


def training_batches(count: int, plan: TrainingPlan) -> list[tuple[int, list[int]]]:
    """Return the epoch and the record indices of every step of a training on ``count`` records."""
    return [
        (epoch, batch)
        for epoch in range(plan.epochs)
        for batch in epoch_batches(count, plan.batch_size, epoch, plan.seed)
    ]
