"""Scores a claim about which releases belong to one record."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.scoring.controls.images import ORACLE
from bench.scoring.score import MetricScore
from bench.util.stats import mean_interval, normalized


def link_scores(
    claimed: Sequence[int],
    truth: Sequence[int],
    epochs: Sequence[int],
    targets: Sequence[int],
    *,
    seed: int,
) -> list[MetricScore]:
    """Return precision, recall and F1 of the links of every target release.

    A link is a pair of a target release and a release of another epoch. A target for which no link
    is claimed scores 0 in all three, so claiming nothing never helps. The floor is a guess of as
    many links at random: its precision is the share of true links among all pairs, its recall the
    share of pairs that were claimed. The ceiling is 1.

    Args:
        claimed: a label of each release, ``(R,)``; equal labels claim one record.
        truth: the record behind each release, ``(R,)``.
        epochs: the epoch of each release, ``(R,)``.
        targets: positions of the releases to be scored.
        seed: seeds the bootstrap.
    """
    label, record, epoch = (torch.as_tensor(list(values)) for values in (claimed, truth, epochs))
    scored = torch.as_tensor(list(targets), dtype=torch.long)
    possible = epoch[scored].unsqueeze(1) != epoch.unsqueeze(0)  # a record appears once an epoch
    claimed_pairs = possible & (label[scored].unsqueeze(1) == label.unsqueeze(0))
    true_pairs = possible & (record[scored].unsqueeze(1) == record.unsqueeze(0))
    pairs, claimed_count, true_count = (
        mask.sum(1).double() for mask in (possible, claimed_pairs, true_pairs)
    )
    hits = (claimed_pairs & true_pairs).sum(1).double()
    precision, recall = _share(hits, claimed_count), _share(hits, true_count)
    chance_precision, chance_recall = _share(true_count, pairs), _share(claimed_count, pairs)
    return [
        _score("link_f1", _f1(precision, recall), _f1(chance_precision, chance_recall), seed),
        _score("link_precision", precision, chance_precision, seed),
        _score("link_recall", recall, chance_recall, seed),
    ]


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Return ``part / whole``, and 0 where ``whole`` is 0."""
    return torch.where(whole > 0, part / whole.clamp_min(1e-12), torch.zeros_like(part))


def _f1(precision: Tensor, recall: Tensor) -> Tensor:
    return _share(2 * precision * recall, precision + recall)


def _score(metric: str, values: Tensor, chance: Tensor, seed: int) -> MetricScore:
    interval = mean_interval(values.numpy(), clusters=None, seed=seed)
    floor = float(chance.mean())
    return MetricScore(
        metric=metric,
        higher_is_closer=True,
        values=values,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        controls={"random": floor, ORACLE: 1.0},
        floor=floor,
        ceiling=1.0,
        normalized=normalized(interval.mean, floor, 1.0),
        backbone=None,
    )
