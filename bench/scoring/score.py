"""Scores a claim against the truth and places the score between the controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from bench.interfaces.certificate import MISSED, Certificate
from bench.interfaces.metric import (
    AttributeMetric,
    IdentityMetric,
    Metric,
    ScoringContext,
    TextMetric,
)
from bench.ledger.diagnostics import not_finite
from bench.scoring.controls.images import BLIND, NEAREST, ORACLE
from bench.types.estimate import Estimate
from bench.types.facts import AttributeOdds, Fact, IdentityScores
from bench.types.targets import HEADLINE
from bench.types.texts import Texts
from bench.util.code_identity import is_ours
from bench.util.errors import BenchError
from bench.util.failure import Failure
from bench.util.stats import loss_ends, mean_interval, normalized, share_interval
from bench.util.type_and_shape import type_and_shape

CLOSE_CONTROLS = 0.1
"""Distance of floor and ceiling of a headline measure below which its position is mostly noise."""


_RESERVED_ENDINGS = frozenset(
    {
        *BLIND,
        NEAREST,
        ORACLE,
        *("low", "high", "floor", "ceiling", "normalized", "backbone", "reason"),
    }
)
"""Column endings of every metric, which ``Metric.basis`` must not use."""


@dataclass(frozen=True, eq=False)
class MetricScore:
    """The score of one target by one metric.

    Attributes:
        metric: name of the metric.
        higher_is_closer: whether a higher value means a claim closer to the truth.
        values: the attack's score of each record, ``(N,)``.
        mean: mean of the values.
        low: lower end of the 95 % interval of the mean.
        high: upper end of the 95 % interval of the mean.
        controls: mean score of each control, by name.
        floor: score of the best blind control; NaN where there is none.
        ceiling: score of the oracle; NaN where there is none.
        normalized: position of the mean, 0 at the floor and 1 at the ceiling.
        backbone: the feature extractor of the metric; None where it uses none.
        basis: numbers that the values depend on, by name (``Metric.basis``).
    """

    metric: str
    higher_is_closer: bool
    values: Tensor
    mean: float
    low: float
    high: float
    controls: Mapping[str, float]
    floor: float
    ceiling: float
    normalized: float
    backbone: str | None
    basis: Mapping[str, float] = field(default_factory=dict)


def score_target(
    target: str,
    claim: Estimate | Texts | Fact,
    truth: Estimate | Texts | Fact,
    controls: Mapping[str, Estimate] | Mapping[str, Texts] | Mapping[str, Fact],
    metrics: Sequence[Metric],
    context: ScoringContext,
    *,
    seed: int,
    known: dict[str, Mapping[str, float]] | None = None,
    broken: dict[str, str] | None = None,
) -> list[MetricScore]:
    """Return the score of every metric that applies to the target and to the type of the claim.

    Args:
        target: what is claimed, such as ``image``.
        claim: the attack's claim.
        truth: the true value, in the type of the claim.
        controls: estimates that need no attack, by name.
        metrics: the metrics of the cell.
        context: gallery, calibration records and backbones.
        seed: seeds the bootstrap.
        known: mean scores of these controls by metric (``bench.scoring.control_cache``); this
            function adds to them.
        broken: third-party metrics that raised an error, with its message; they are skipped, and
            this function adds to them. None lets errors pass.
    """
    known = {} if known is None else known
    scores = []
    for metric in metrics:
        if target not in metric.targets or (broken is not None and metric.name in broken):
            continue
        try:
            score = _score(metric, claim, truth, controls, context, known, seed)
        except Exception as error:
            if broken is None or is_ours(type(metric)):
                raise
            broken[metric.name] = Failure.from_error(error).reason
            continue
        if score is not None:
            scores.append(score)
    return scores


def _score(
    metric: Metric,
    claim: Estimate | Texts | Fact,
    truth: Estimate | Texts | Fact,
    controls: Mapping[str, Estimate] | Mapping[str, Texts] | Mapping[str, Fact],
    context: ScoringContext,
    known: dict[str, Mapping[str, float]],
    seed: int,
) -> MetricScore | None:
    """Return the score by one metric, or None where the metric does not apply to the claim."""
    values = _values(metric, claim, truth, context)
    if values is None:
        return None
    if metric.name not in known:
        known[metric.name] = {
            name: float(values_of_control.mean())
            for name, estimate in controls.items()
            if (values_of_control := _values(metric, estimate, truth, context)) is not None
        }
    means = known[metric.name]
    best = max if metric.higher_is_closer else min
    blind = [means[name] for name in BLIND if name in means]
    floor = best(blind) if blind else float("nan")
    ceiling = means.get(ORACLE, float("nan"))
    numbers = values.numpy()
    interval = (
        share_interval(numbers)
        if metric.share
        else mean_interval(numbers, clusters=None, seed=seed)
    )
    return MetricScore(
        metric=metric.name,
        higher_is_closer=metric.higher_is_closer,
        values=values,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        controls=means,
        floor=floor,
        ceiling=ceiling,
        normalized=normalized(interval.mean, floor, ceiling),
        backbone=metric.backbone(context),
        basis=_basis(metric, claim, truth, context),
    )


def _values(
    metric: Metric,
    claim: Estimate | Texts | Fact,
    truth: Estimate | Texts | Fact,
    context: ScoringContext,
) -> Tensor | None:
    """Return the metric's values, ``(N,)`` float64, or None where it does not apply.

    Raises:
        BenchError: the metric returns anything else.
    """
    result: object = _compare(metric, claim, truth, context)
    if result is None:
        return None
    count = len(claim.images) if isinstance(claim, Estimate) else len(claim)
    if not isinstance(result, Tensor) or tuple(result.shape) != (count,):
        raise BenchError(
            f"metric {metric.name!r} must return one number for each record, shape ({count},); "
            f"got {type_and_shape(result)}"
        )
    return result.detach().cpu().double()


def _compare(
    metric: Metric,
    claim: Estimate | Texts | Fact,
    truth: Estimate | Texts | Fact,
    context: ScoringContext,
) -> Tensor | None:
    """Return what the metric computes for a claim of the type that the metric compares.

    Raises:
        BenchError: the metric declares a target whose claims it cannot compare.
    """
    if isinstance(claim, Texts) and isinstance(truth, Texts):
        if not isinstance(metric, TextMetric):
            raise BenchError(
                f"metric {metric.name!r} declares a target that is text, but is no TextMetric"
            )
        return metric.compare(claim, truth, context)
    if (
        isinstance(claim, AttributeOdds)
        and isinstance(truth, AttributeOdds)
        and isinstance(metric, AttributeMetric)
    ):
        return metric.compare(claim, truth, context)
    if (
        isinstance(claim, IdentityScores)
        and isinstance(truth, IdentityScores)
        and isinstance(metric, IdentityMetric)
    ):
        return metric.compare(claim, truth, context)
    if not (isinstance(claim, Estimate) and isinstance(truth, Estimate)):
        kinds = f"a {type(claim).__name__} with a {type(truth).__name__}"
        raise BenchError(f"metric {metric.name!r} cannot compare {kinds}")
    return metric.score(claim, truth, context)


def _basis(
    metric: Metric,
    claim: Estimate | Texts | Fact,
    truth: Estimate | Texts | Fact,
    context: ScoringContext,
) -> Mapping[str, float]:
    """Return the numbers that the metric's values depend on; only picture metrics have some.

    Raises:
        BenchError: a number has the name of a column that every metric writes.
    """
    if not (isinstance(claim, Estimate) and isinstance(truth, Estimate)):
        return {}
    basis = metric.basis(claim, truth, context)
    if clash := sorted(_RESERVED_ENDINGS & basis.keys()):
        raise BenchError(
            f"metric {metric.name!r}: basis() must not return {', '.join(clash)}, which ends a "
            "column of every metric"
        )
    return basis


def unsupported_metrics(
    target: str, metrics: Sequence[Metric], context: ScoringContext
) -> dict[str, str]:
    """Return why metrics of a target have no values on these data, by metric name."""
    reasons = {
        metric.name: metric.unscored(context) for metric in metrics if target in metric.targets
    }
    return {name: reason for name, reason in reasons.items() if reason}


def certificate_flags(certificate: Certificate, scores: Sequence[MetricScore]) -> list[str]:
    """Return the flag of a run that misses its certificate; a missing or NaN score misses it."""
    reached = any(
        s.metric == certificate.metric and s.normalized >= certificate.at_least for s in scores
    )
    return [] if reached else [MISSED]


def flags(
    scores: Sequence[MetricScore], diagnostics: Mapping[str, float], losses: Sequence[float]
) -> list[str]:
    """Return reasons to doubt a row (DESIGN 5.5).

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
