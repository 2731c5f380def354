"""Holds claimed class labels against those that the clients trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def label_scores(
    claimed: Tensor, truth: Tensor, auxiliary: Tensor, groups: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Fields of a row.

    * ``label_accuracy``: share of records whose class is named. Records of one update have no
    order, so their classes
      count as a multiset.
    * ``label_accuracy_blind``: the same for who names the commonest class of the auxiliary records
    every time. * ``label_auc``: how well the claim's weight on a class tells its records from
    others', the mean over classes that
      some targets are of and others not; 0.5 is chance. Only where each update is of one record.

    Args:
        claimed: how much speaks for each class, ``(N, K)``; a plain answer is one-hot.
        truth: ``(N,)`` int64.
        auxiliary: classes of the attacker's own records, ``(M,)``.
        groups: positions that share an update.
    """
    classes = claimed.shape[1]
    groups = groups or [[i] for i in range(len(truth))]
    fields = {"label_accuracy": _named(claimed.argmax(1), truth, groups, classes)}
    if len(auxiliary):
        commonest = auxiliary.bincount().argmax().expand(len(truth))
        fields["label_accuracy_blind"] = _named(commonest, truth, groups, classes)
    if all(len(group) == 1 for group in groups):
        told = [
            _auc(claimed[:, k], truth == k)
            for k in sorted(set(truth.tolist()))
            if not bool((truth == k).all())
        ]
        if told:
            fields["label_auc"] = sum(told) / len(told)
    return fields


def _named(guess: Tensor, truth: Tensor, groups: Sequence[Sequence[int]], classes: int) -> float:
    """Share of records in the overlap of two multisets of classes, group by group."""
    right = 0
    for group in groups:
        counts = [
            functional.one_hot(labels[list(group)], classes).sum(0) for labels in (guess, truth)
        ]
        right += int(torch.minimum(*counts).sum())
    return right / len(truth)


def _auc(score: Tensor, positive: Tensor) -> float:
    """The chance that a positive outranks a negative; ties count half (Mann and Whitney 1947)."""
    difference = score[positive].double().unsqueeze(1) - score[~positive].double()
    return float(((difference > 0).double() + (difference == 0).double() / 2).mean())
