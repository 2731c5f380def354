"""Whether claimed attributes are true: plainly, with every value weighing alike, and without any threshold."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.interfaces.metric import AttributeMetric, ScoringContext
from bench.interfaces.plugin import Card
from bench.types.facts import AttributeOdds


def _each(
    claim: AttributeOdds, truth: AttributeOdds, score: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """The mean over attributes of ``score`` of claimed odds and truth, each ``(N, K)``; ``(N,)`` float64."""
    return torch.stack(
        [score(claim.odds[n].double(), truth.odds[n].double()) for n in truth.odds]
    ).mean(0)


def hits(odds: Tensor, truth: Tensor) -> Tensor:
    """1 where the true value is likelier than every other, ``(N,)``; ties count against the attacker."""
    own = (odds * truth).sum(1, keepdim=True)
    beaten = (odds < own) | truth.bool()
    return (beaten.all(1) & (truth.sum(1) > 0)).double()


class AttributeAccuracy(AttributeMetric):
    """Share of a record's attributes whose likeliest value is the true one."""

    name = "attribute_accuracy"
    higher_is_closer = True
    card = Card(
        summary="Share of a record's attributes that are claimed rightly.",
        source="standard definition; attribute inference as in METHODS 6.4",
        notes="Rare values hardly count: read it against the control majority.",
    )

    def compare(
        self, claim: AttributeOdds, truth: AttributeOdds, context: ScoringContext
    ) -> Tensor:
        return _each(claim, truth, hits)


class AttributeBalanced(AttributeMetric):
    """Accuracy in which every value that occurs among the scored records weighs alike."""

    name = "attribute_balanced"
    higher_is_closer = True
    card = Card(
        summary="Balanced accuracy of claimed attributes, as the mean of values by record.",
        source="standard definition; attribute inference as in METHODS 6.4",
        notes="A hit on a record of a rare value counts more than 1, so that the mean is the mean recall of the "
        "values. It depends on which records are scored together.",
    )

    def compare(
        self, claim: AttributeOdds, truth: AttributeOdds, context: ScoringContext
    ) -> Tensor:
        return _each(claim, truth, _balanced)


class AttributeAuc(AttributeMetric):
    """How often the true value of a record gets higher odds than that value gets on records without it."""

    name = "attribute_auc"
    higher_is_closer = True
    card = Card(
        summary="Area under the ROC curve of each record's true values against records that have another value.",
        source="Mann-Whitney statistic, standard definition; METHODS 6.4",
        notes="0.5 is blind. Attributes of which all scored records have one value are left out; it depends on which "
        "records are scored together.",
    )

    def compare(
        self, claim: AttributeOdds, truth: AttributeOdds, context: ScoringContext
    ) -> Tensor | None:
        varied = {n: t for n, t in truth.odds.items() if (t.sum(0) > 0).sum() > 1}
        if not varied:
            return None
        return torch.stack(
            [_auc(claim.odds[n].double(), t.double()) for n, t in varied.items()]
        ).mean(0)


def _balanced(odds: Tensor, truth: Tensor) -> Tensor:
    counts = truth.sum(0)
    present = max(1, int((counts > 0).sum()))
    weight = (truth * (len(truth) / (present * counts.clamp_min(1.0)))).sum(1)
    return hits(odds, truth) * weight


def _auc(odds: Tensor, truth: Tensor) -> Tensor:
    """``(N,)``: of record i with value c, the share of records without c whose odds of c are lower; ties half."""
    own = (odds * truth).sum(1)
    of_own = odds[:, truth.argmax(1)].T  # row i: the odds of i's value on every record
    others = 1.0 - truth[:, truth.argmax(1)].T
    below = (of_own < own[:, None]).double() + 0.5 * (of_own == own[:, None]).double()
    known = (truth.sum(1) > 0).double()
    return known * (below * others).sum(1) / others.sum(1).clamp_min(1.0)
