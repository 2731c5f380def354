"""Flags rows that there are reasons to doubt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bench.interfaces.certificate import MISSED, Certificate
from bench.ledger.diagnostics import not_finite
from bench.scoring.controls.images import NEAREST
from bench.scoring.score import MetricScore
from bench.types.targets import HEADLINE
from bench.util.stats import loss_ends

CLOSE_CONTROLS = 0.1
"""Distance of floor and ceiling of a headline measure below which its position is mostly noise."""


def certificate_flags(certificate: Certificate, scores: Sequence[MetricScore]) -> list[str]:
    """Return the flag of a run that misses its certificate; a missing or NaN score misses it."""
    reached = any(
        s.metric == certificate.metric and s.normalized >= certificate.at_least for s in scores
    )
    return [] if reached else [MISSED]


def flags(
    scores: Sequence[MetricScore], diagnostics: Mapping[str, float], losses: Sequence[float]
) -> list[str]:
    """Return reasons to doubt a row.

    * ``floor-overlap``: the interval of the target's headline measure reaches the floor.
    * ``below-nearest``: the interval reaches the score of the nearest public record.
    * ``controls-close``: floor and ceiling are too close for the normalized score to say much.
    * ``attack-loss-rose``, ``victim-loss-rose``, ``victim-loss-not-finite``: training did not help.
    * ``diagnostic-not-finite``: the attack reported a number that is not finite.

    Args:
        scores: scores of the target.
        diagnostics: columns ``attack_*``.
        losses: losses of the victim's training, in order.
    """
    names = []
    for score in scores:
        if score.metric in HEADLINE.values():
            if abs(score.ceiling - score.floor) < CLOSE_CONTROLS:
                names.append("controls-close")
            if score.low <= score.floor:
                names.append("floor-overlap")
            elif score.low <= score.controls.get(NEAREST, float("-inf")):
                names.append("below-nearest")
    if diagnostics.get("attack_loss_last", 0.0) > diagnostics.get(
        "attack_loss_first", float("inf")
    ):
        names.append("attack-loss-rose")
    if not_finite(diagnostics):
        names.append("diagnostic-not-finite")
    loss_first, loss_last = loss_ends(losses)
    if not all(map(math.isfinite, losses)):
        names.append("victim-loss-not-finite")
    elif len(losses) >= 10 and loss_last > loss_first:
        names.append("victim-loss-rose")
    return names
