"""Scores claimed class labels against the labels that the clients trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def label_scores(
    claimed: Tensor, truth: Tensor, auxiliary: Tensor, groups: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Return the fields ``label_*`` of a row.

    * ``label_accuracy``: share of records whose class is claimed. Records of one update have no
      order, so their classes count as a multiset.
    * ``label_accuracy_blind``: the accuracy of claiming the most frequent class of the auxiliary
      records every time.
    * ``label_auc``: area under the ROC curve of the claim's weight on a class, averaged over the
      classes that some targets have and others do not; 0.5 is chance. Absent where an update holds
      several records.

    Args:
        claimed: weight of each class, ``(N, K)``; a definite answer is one-hot.
        truth: class of each record, ``(N,)`` int64.
        auxiliary: classes of the attacker's records, ``(M,)`` int64.
        groups: positions of records that share an update; empty where each has its own.
    """
    classes = claimed.shape[1]
    groups = groups or [[i] for i in range(len(truth))]
    fields = {"label_accuracy": _accuracy(claimed.argmax(1), truth, groups, classes)}
    if len(auxiliary):
        commonest = auxiliary.bincount().argmax().expand(len(truth))
        fields["label_accuracy_blind"] = _accuracy(commonest, truth, groups, classes)
    if all(len(group) == 1 for group in groups):
        from sklearn.metrics import roc_auc_score

        areas = [
            float(roc_auc_score((truth == k).numpy(), claimed[:, k].double().numpy()))
            for k in sorted(set(truth.tolist()))
            if not bool((truth == k).all())
        ]
        if areas:
            fields["label_auc"] = sum(areas) / len(areas)
    return fields


def _accuracy(guess: Tensor, truth: Tensor, groups: Sequence[Sequence[int]], classes: int) -> float:
    """Return the share of records in the overlap of two multisets of classes, group by group."""
    correct = 0
    for group in groups:
        counts = [
            functional.one_hot(labels[list(group)], classes).sum(0) for labels in (guess, truth)
        ]
        correct += int(torch.minimum(*counts).sum())
    return correct / len(truth)
