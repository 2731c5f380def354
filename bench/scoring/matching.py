"""Orders the claims about records of one update, which have no order in their message."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment

from bench.metrics.rouge import rouge_table
from bench.types.estimate import Estimate
from bench.types.facts import Fact, agreement
from bench.types.images import ImageBatch
from bench.types.texts import Texts


def match_images(claim: Estimate, truth: ImageBatch, groups: Sequence[Sequence[int]]) -> Estimate:
    """Return the claim with each group in the order of least squared error to the truth.

    The controls must be ordered too, since choosing the order uses the truth. A group of one record
    does not change.

    Args:
        claim: claimed pictures.
        truth: true pictures, ``(N, 3, H, W)`` in [0, 1].
        groups: positions of the records that share an update; every position occurs once.
    """
    order = list(range(len(truth)))
    for group in groups:
        rows = list(group)
        cost = torch.cdist(
            truth.pixels[rows].flatten(1), claim.images.pixels[rows].flatten(1)
        ).square()
        for i, j in zip(*linear_sum_assignment(cost.cpu().numpy()), strict=True):
            order[rows[i]] = rows[j]
    if order == list(range(len(truth))):
        return claim
    return Estimate(
        claim.images.take(order), None if claim.latents is None else claim.latents[order]
    )


def match_texts(claim: Texts, truth: Texts, groups: Sequence[Sequence[int]]) -> Texts:
    """Return the claimed texts with each group in the order of highest ROUGE-L to the truth."""
    order = list(range(len(truth)))
    for group in groups:
        rows = list(group)
        fit = rouge_table(truth.take(rows).texts, claim.take(rows).texts)
        for i, j in zip(*linear_sum_assignment(fit, maximize=True), strict=True):
            order[rows[i]] = rows[j]
    return claim.take(order)


def match_facts(claim: Fact, truth: Fact, groups: Sequence[Sequence[int]]) -> Fact:
    """Return the claimed facts with each group in the order of highest agreement with the truth."""
    order = list(range(len(truth)))
    for group in groups:
        rows = list(group)
        fit = agreement(claim.take(rows), truth.take(rows))
        for i, j in zip(*linear_sum_assignment(fit.numpy(), maximize=True), strict=True):
            order[rows[i]] = rows[j]
    return claim.take(order)
