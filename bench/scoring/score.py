"""Holds a claim against the truth, between its controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from bench.interfaces.certificate import MISSED, Certificate
from bench.interfaces.metric import LabelMetric, LineupMetric, Metric, ScoringContext, TextMetric
from bench.ledger.diagnostics import not_finite
from bench.scoring.controls.images import BLIND, NEAREST, ORACLE
from bench.types.estimate import Estimate
from bench.types.facts import Fact, Labels, Lineup
from bench.types.targets import HEADLINE
from bench.types.texts import Wording
from bench.util.code_identity import is_ours
from bench.util.described import described
from bench.util.errors import BenchError
from bench.util.failure import Failure
from bench.util.stats import mean_interval, normalized, share_interval

CLOSE = 0.1
"""Of the headline measure, between floor and ceiling, below which a normalized score is mostly noise."""


_RESERVED = frozenset(
    {
        *BLIND,
        NEAREST,
        ORACLE,
        *("low", "high", "floor", "ceiling", "normalized", "backbone", "reason"),
    }
)
"""Endings of a metric's columns that a metric cannot give as its basis."""


@dataclass(frozen=True, eq=False)
class MetricScore:
    """One metric of one target.

    Attributes:
        values: the attack's score of each record, ``(N,)``.
        low, high: 95 % bootstrap interval of the mean.
        controls: each control's mean.
        floor: the better of the blind controls; ceiling: the oracle's, NaN where there is none.
        normalized: 0 at the floor, 1 at the ceiling.
        basis: numbers that the values rest on, by name (``Metric.basis``).
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
    claim: Estimate | Wording | Fact,
    truth: Estimate | Wording | Fact,
    controls: Mapping[str, Estimate] | Mapping[str, Wording] | Mapping[str, Fact],
    metrics: Sequence[Metric],
    context: ScoringContext,
    *,
    seed: int,
    known: dict[str, Mapping[str, float]] | None = None,
    broken: dict[str, str] | None = None,
) -> list[MetricScore]:
    """Every metric that applies to the target and to what is claimed.

    Args:
        known: mean scores of these very controls by metric (``bench.scoring.control_cache``); read,
            and added to.
        broken: metrics of other packages that raised, with the reason; read, and added to. Without
            it they raise.
    """
    known = {} if known is None else known
    scores = []
    for metric in metrics:
        if target not in metric.targets or (broken is not None and metric.name in broken):
            continue
        try:
            found = _score(metric, claim, truth, controls, context, known, seed)
        except Exception as error:
            if broken is None or is_ours(type(metric)):
                raise
            broken[metric.name] = Failure.of(error).reason
            continue
        if found is not None:
            scores.append(found)
    return scores


def _score(
    metric: Metric,
    claim: Estimate | Wording | Fact,
    truth: Estimate | Wording | Fact,
    controls: Mapping[str, Estimate] | Mapping[str, Wording] | Mapping[str, Fact],
    context: ScoringContext,
    known: dict[str, Mapping[str, float]],
    seed: int,
) -> MetricScore | None:
    """One metric's score, or None where the claim cannot be scored so."""
    values = _values(metric, claim, truth, context)
    if values is None:
        return None
    if metric.name not in known:
        known[metric.name] = {
            name: float(found.mean())
            for name, estimate in controls.items()
            if (found := _values(metric, estimate, truth, context)) is not None
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
    claim: Estimate | Wording | Fact,
    truth: Estimate | Wording | Fact,
    context: ScoringContext,
) -> Tensor | None:
    """The metric's values, ``(N,)`` float64, or None where it does not apply.

    Raises:
        BenchError: it gives anything else.
    """
    found: object = _compared(metric, claim, truth, context)
    if found is None:
        return None
    count = len(claim.images) if isinstance(claim, Estimate) else len(claim)
    if not isinstance(found, Tensor) or tuple(found.shape) != (count,):
        raise BenchError(
            f"metric {metric.name!r} must give one number a record ({count},); got {described(found)}"
        )
    return found.detach().cpu().double()


def _compared(
    metric: Metric,
    claim: Estimate | Wording | Fact,
    truth: Estimate | Wording | Fact,
    context: ScoringContext,
) -> Tensor | None:
    """What the metric gives; texts go to metrics of texts only, facts to those of such facts,
    pictures to the others.

    Raises:
        BenchError: the metric declares a target whose claims it cannot compare.
    """
    if isinstance(claim, Wording) and isinstance(truth, Wording):
        if not isinstance(metric, TextMetric):
            raise BenchError(
                f"metric {metric.name!r} compares no texts, but declares a target that is one"
            )
        return metric.compare(claim, truth, context)
    if isinstance(claim, Labels) and isinstance(truth, Labels) and isinstance(metric, LabelMetric):
        return metric.compare(claim, truth, context)
    if isinstance(claim, Lineup) and isinstance(truth, Lineup) and isinstance(metric, LineupMetric):
        return metric.compare(claim, truth, context)
    if not (isinstance(claim, Estimate) and isinstance(truth, Estimate)):
        kinds = f"a {type(claim).__name__} with a {type(truth).__name__}"
        raise BenchError(f"metric {metric.name!r} cannot compare {kinds}")
    return metric.score(claim, truth, context)


def _basis(
    metric: Metric,
    claim: Estimate | Wording | Fact,
    truth: Estimate | Wording | Fact,
    context: ScoringContext,
) -> Mapping[str, float]:
    """What the metric's values rest on; only metrics of pictures have such numbers.

    Raises:
        BenchError: one of them has the name of a column that belongs to the judge.
    """
    if not (isinstance(claim, Estimate) and isinstance(truth, Estimate)):
        return {}
    found = metric.basis(claim, truth, context)
    if taken := sorted(_RESERVED & found.keys()):
        raise BenchError(
            f"metric {metric.name!r}: its basis may not be called {', '.join(taken)}, a column of every row"
        )
    return found


def unsupported_metrics(
    target: str, metrics: Sequence[Metric], context: ScoringContext
) -> dict[str, str]:
    """Why metrics of a target have no values on these data, by metric name; empty where all have."""
    reasons = {
        metric.name: metric.unscored(context) for metric in metrics if target in metric.targets
    }
    return {name: reason for name, reason in reasons.items() if reason}


def certificate_flags(certificate: Certificate, scores: Sequence[MetricScore]) -> list[str]:
    """The flag of a run that does not reach its certificate; a score that is missing or NaN does not."""
    reached = any(
        s.metric == certificate.metric and s.normalized >= certificate.at_least for s in scores
    )
    return [] if reached else [MISSED]


def flags(
    scores: Sequence[MetricScore], diagnostics: Mapping[str, float], losses: Sequence[float]
) -> list[str]:
    """Reasons to doubt a row (DESIGN 5.5), found by machine.

    ``floor-overlap``: on the target's headline measure the interval reaches the floor.
    ``below-nearest``: it does not beat a look-up in public data. ``controls-close``: floor and
    ceiling are so near each other that the normalized score says little. ``attack-loss-rose``,
    ``victim-loss-rose``, ``victim-loss-not-finite``: training did not help.
    ``diagnostic-not-finite``: the attack reported a number that is not finite.

    Args:
        diagnostics: columns ``attack_*``.
    """
    found = []
    for score in scores:
        if score.metric in HEADLINE.values():
            if abs(score.ceiling - score.floor) < CLOSE:
                found.append("controls-close")
            if score.low <= score.floor:
                found.append("floor-overlap")
            elif score.low <= score.controls.get(NEAREST, float("-inf")):
                found.append("below-nearest")
    if diagnostics.get("attack_loss_last", 0.0) > diagnostics.get(
        "attack_loss_first", float("inf")
    ):
        found.append("attack-loss-rose")
    if not_finite(diagnostics):
        found.append("diagnostic-not-finite")
    tenth = len(losses) // 10
    if not all(map(math.isfinite, losses)):
        found.append("victim-loss-not-finite")
    elif tenth and sum(losses[-tenth:]) > sum(losses[:tenth]):
        found.append("victim-loss-rose")
    return found
