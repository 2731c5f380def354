"""Who is who within an update: records that went into one message together have no order to be claimed in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment

from bench.metrics.rouge import rouge_table
from bench.types.estimate import Estimate
from bench.types.facts import Fact, agreement
from bench.types.images import ImageBatch
from bench.types.texts import Wording


def match_images(claim: Estimate, truth: ImageBatch, groups: Sequence[Sequence[int]]) -> Estimate:
    """The claim with the records of each group in the order that fits the truth best (least squared
    error).

    The controls of a claim are to be put in order likewise, since the choice among orders is
    knowledge. A single-record group stays as it is.

    Args:
        groups: positions of the records that share an update; every position once.
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


def match_texts(claim: Wording, truth: Wording, groups: Sequence[Sequence[int]]) -> Wording:
    """Likewise for texts, by ROUGE-L."""
    order = list(range(len(truth)))
    for group in groups:
        rows = list(group)
        fit = rouge_table(truth.take(rows).texts, claim.take(rows).texts)
        for i, j in zip(*linear_sum_assignment(fit, maximize=True), strict=True):
            order[rows[i]] = rows[j]
    return claim.take(order)


def match_facts(claim: Fact, truth: Fact, groups: Sequence[Sequence[int]]) -> Fact:
    """Likewise for attributes and identities, by how well they agree."""
    order = list(range(len(truth)))
    for group in groups:
        rows = list(group)
        fit = agreement(claim.take(rows), truth.take(rows))
        for i, j in zip(*linear_sum_assignment(fit.numpy(), maximize=True), strict=True):
            order[rows[i]] = rows[j]
    return claim.take(order)
