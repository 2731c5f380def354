"""Unseal the truth and score the claim of an attack against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench.cell.attacker import auxiliary_records
from bench.cell.judge import Judge
from bench.cell.truth import Truth
from bench.interfaces.certificate import Certificate
from bench.metrics.distribution import needed_for_fid
from bench.scoring.certificates import certificate_for
from bench.scoring.compare import compare
from bench.scoring.labels import label_scores
from bench.scoring.links import link_scores
from bench.scoring.picture import Panel
from bench.scoring.score import (
    MetricScore,
    certificate_flags,
    flags,
    score_target,
    unsupported_metrics,
)
from bench.types.claim import Claim
from bench.types.estimate import Estimate
from bench.types.facts import Fact
from bench.types.links import Links
from bench.types.records import Records
from bench.types.targets import LINK, PICTURE_TARGETS
from bench.types.texts import Texts
from bench.util.errors import BenchError
from bench.util.global_random import FLAG, GlobalRandom
from bench.util.progress import Progress
from bench.wire.transcript import Release

if TYPE_CHECKING:
    from bench.cell.attempt import Attempt
    from bench.cell.job import Job
    from bench.wire.capture import Capture


@dataclass(frozen=True, eq=False)
class TargetScores:
    """The scores of one target's claim, and what is kept with them.

    Attributes:
        metrics: one score for each metric that fits the target.
        flags: reasons to doubt the target's row.
        certificate: what this cell must reach to vouch for its attack, if anything.
        unsupported_metrics: by metric, why the data do not support it.
        panel: for the cell's picture, where the target is a picture.
    """

    metrics: list[MetricScore]
    flags: list[str] = field(default_factory=list)
    certificate: Certificate | None = None
    unsupported_metrics: Mapping[str, str] = field(default_factory=dict)
    panel: Panel | None = None


@dataclass(frozen=True, eq=False)
class ClaimScores:
    """The scores of a claim; all is empty where there is no claim.

    Attributes:
        targets: by target, in the order of the claim.
        labels: what claimed class labels are worth, under names ``label_*``.
        gallery: how many pictures the metrics of identification choose among.
        flags: reasons to doubt every row of the cell.
    """

    targets: Mapping[str, TargetScores] = field(default_factory=dict)
    labels: Mapping[str, float] = field(default_factory=dict)
    gallery: int = 0
    flags: tuple[str, ...] = ()


def score_claim(
    job: Job,
    capture: Capture,
    targets: list[Release],
    attempt: Attempt,
    judge: Judge,
    progress: Progress,
) -> ClaimScores:
    """Unseal the truth and score the claim of ``attempt``, after the attack has ended.

    Raises:
        BenchError: the claim cannot be scored.
    """
    claim = attempt.claim
    if claim is None:
        return ClaimScores()
    broken: dict[str, str] = {}
    stream = GlobalRandom(job.cell.capture.seed, "scoring", device=job.cell.capture.device)
    with stream.active():
        truth = Truth.unseal(job, capture, targets, attempt.groups, judge)
        labels = label_columns(job, claim, judge, truth.records, truth.groups)
        claimed = {**claim.estimates, **({} if claim.links is None else {LINK: claim.links})}
        scores: dict[str, TargetScores] = {}
        with progress.stage("scoring", len(claimed)) as advance:
            for target, estimate in claimed.items():
                if isinstance(estimate, Links):
                    one = _of_links(job, capture, attempt, estimate)
                else:
                    one = _of_estimate(job, truth, target, estimate, broken)
                scores[target] = _with_flags(one, job, capture, attempt, target)
                advance(1)
    return ClaimScores(
        targets=scores,
        labels=labels,
        gallery=len(truth.context.gallery),
        flags=(
            *((FLAG,) if stream.drawn else ()),
            *(f"metric-failed:{name}" for name in sorted(broken)),
        ),
    )


def _of_estimate(
    job: Job, truth: Truth, target: str, claimed: Estimate | Texts | Fact, broken: dict[str, str]
) -> TargetScores:
    """Score pictures, texts or facts between their controls; add failed metrics to ``broken``."""
    compared = compare(target, claimed, truth.pictures, truth.records, truth.source, truth.groups)
    metrics = score_target(
        target,
        compared.claimed,
        compared.truth,
        compared.controls,
        job.metrics,
        truth.context,
        seed=job.cell.capture.seed,
        known=compared.known,
        broken=broken,
    )
    working = [metric for metric in job.metrics if metric.name not in broken]
    few = len(job.splits.evaluation) < needed_for_fid(job.backbones.distribution.dim)
    return TargetScores(
        metrics=metrics,
        flags=["few-for-fid"] if few and target in PICTURE_TARGETS else [],
        unsupported_metrics=unsupported_metrics(target, working, truth.context),
        panel=compared.panel,
    )


def _of_links(job: Job, capture: Capture, attempt: Attempt, claimed: Links) -> TargetScores:
    """Score which releases are claimed to belong to one record."""
    return TargetScores(
        link_scores(
            claimed.labels,
            capture.secrets.records_behind(attempt.releases),
            [release.epoch for release in attempt.releases],
            attempt.targets,
            seed=job.cell.capture.seed,
        )
    )


def _with_flags(
    scores: TargetScores, job: Job, capture: Capture, attempt: Attempt, target: str
) -> TargetScores:
    """Add reasons to doubt the scores, and the certificate that the cell must reach."""
    doubts = flags(scores.metrics, attempt.diagnostics, capture.costs.losses)
    certificate = certificate_for(job.cell, type(job.attack), target)
    if certificate is not None:
        doubts += certificate_flags(certificate, scores.metrics)
    return replace(scores, flags=[*doubts, *scores.flags], certificate=certificate)


def label_columns(
    job: Job, claim: Claim, judge: Judge, records: Records, groups: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Return what the claimed class labels are worth; empty where the claim has none.

    Raises:
        BenchError: the victim's clients learn no classes.
    """
    if claim.labels is None:
        return {}
    victim = judge.victim
    truth, auxiliary = victim.labels(records), victim.labels(auxiliary_records(job))
    if truth is None or auxiliary is None:
        raise BenchError(f"claims labels, but the clients of {victim.name!r} learn no classes")
    return label_scores(claim.labels, truth, auxiliary, groups)
