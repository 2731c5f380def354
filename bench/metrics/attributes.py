"""Metrics of claimed attributes: accuracy, balanced accuracy, and area under the ROC curve."""

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
    """Return the mean over attributes of what ``score`` gives for claimed odds and truth.

    Args:
        claim: odds of each value of each attribute.
        truth: one-hot odds of the true values.
        score: gives ``(N,)`` for claimed odds and truth of one attribute, both ``(N, K)``.

    Returns:
        ``(N,)`` float64.
    """
    return torch.stack(
        [score(claim.odds[n].double(), truth.odds[n].double()) for n in truth.odds]
    ).mean(0)


def hits(odds: Tensor, truth: Tensor) -> Tensor:
    """Return 1 where the true value has higher odds than every other value, else 0.

    Ties count against the attacker, and so does a truth without any value.

    Args:
        odds: ``(N, K)``, of each value.
        truth: ``(N, K)`` one-hot, or all zero where the true value is not among the K.

    Returns:
        ``(N,)`` float64.
    """
    own = (odds * truth).sum(1, keepdim=True)
    beaten = (odds < own) | truth.bool()
    return (beaten.all(1) & (truth.sum(1) > 0)).double()


class AttributeAccuracy(AttributeMetric):
    """Share of a record's attributes whose likeliest value is the true one."""

    name = "attribute_accuracy"
    higher_is_closer = True
    card = Card(
        summary="Share of a record's attributes that are claimed rightly.",
        source="standard definition",
        notes="Rare values hardly count: read it against the control majority.",
    )

    def compare(
        self, claim: AttributeOdds, truth: AttributeOdds, context: ScoringContext
    ) -> Tensor:
        """Return ``(N,)`` float64, non-negative."""
        return _each(claim, truth, hits)


class AttributeBalanced(AttributeMetric):
    """Accuracy in which every value that occurs among the scored records has equal weight."""

    name = "attribute_balanced"
    higher_is_closer = True
    card = Card(
        summary="Balanced accuracy of claimed attributes, as the mean of values by record.",
        source="standard definition",
        notes=(
            "A hit on a record of a rare value counts more than 1, so that the mean is the mean "
            "recall of the values. It depends on which records are scored together."
        ),
    )

    def compare(
        self, claim: AttributeOdds, truth: AttributeOdds, context: ScoringContext
    ) -> Tensor:
        """Return ``(N,)`` float64, non-negative."""
        return _each(claim, truth, _balanced)


class AttributeAuc(AttributeMetric):
    """Share of the records without a value that give it lower odds than the records with it do."""

    name = "attribute_auc"
    higher_is_closer = True
    card = Card(
        summary=(
            "Area under the ROC curve of each record's true values against records that have "
            "another value."
        ),
        source="Mann-Whitney statistic, standard definition",
        notes=(
            "0.5 is blind. Attributes of which all scored records have one value are left out; "
            "it depends on which records are scored together."
        ),
    )

    def compare(
        self, claim: AttributeOdds, truth: AttributeOdds, context: ScoringContext
    ) -> Tensor | None:
        """Return ``(N,)`` float64 in [0, 1], or None where no attribute has two true values."""
        varied = {n: t for n, t in truth.odds.items() if (t.sum(0) > 0).sum() > 1}
        if not varied:
            return None
        return torch.stack(
            [_auc(claim.odds[n].double(), t.double()) for n, t in varied.items()]
        ).mean(0)


def _balanced(odds: Tensor, truth: Tensor) -> Tensor:
    """Return :func:`hits`, weighted so that their mean is the mean recall of values, ``(N,)``."""
    counts = truth.sum(0)
    present = max(1, int((counts > 0).sum()))
    weight = (truth * (len(truth) / (present * counts.clamp_min(1.0)))).sum(1)
    return hits(odds, truth) * weight


def _auc(odds: Tensor, truth: Tensor) -> Tensor:
    """Return the share of other records that a record outranks in the odds of its true value.

    For record i of value c, the others are the records of another value, and the odds are those of
    c. A tie counts half.

    Args:
        odds: ``(N, K)``, of each value.
        truth: ``(N, K)`` one-hot, or all zero where the true value is not among the K.

    Returns:
        ``(N,)`` float64 in [0, 1].
    """
    own = (odds * truth).sum(1)
    of_own = odds[:, truth.argmax(1)].T  # row i: the odds of i's value on every record
    others = 1.0 - truth[:, truth.argmax(1)].T
    below = (of_own < own[:, None]).double() + 0.5 * (of_own == own[:, None]).double()
    known = (truth.sum(1) > 0).double()
    return known * (below * others).sum(1) / others.sum(1).clamp_min(1.0)
