"""The third stage of a cell: the truth is unsealed and the claim is scored against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.cell.knowledge import Judge, auxiliary_records
from bench.interfaces.certificate import Certificate
from bench.interfaces.checked_defense import checked
from bench.interfaces.metric import ScoringContext
from bench.metrics.distribution import needed_for_fid
from bench.scoring.certificates import certificate_for
from bench.scoring.compare import ControlSource, compare
from bench.scoring.labels import label_scores
from bench.scoring.links import link_scores
from bench.scoring.picture import Panel
from bench.scoring.rows import CellOutcome
from bench.scoring.score import (
    MetricScore,
    certificate_flags,
    flags,
    score_target,
    unsupported_metrics,
)
from bench.types.claim import Claim
from bench.types.images import ImageBatch
from bench.types.records import Records
from bench.types.targets import LINK, PICTURED
from bench.util.errors import BenchError
from bench.util.global_random import FLAG, GlobalRandom
from bench.util.progress import Progress
from bench.wire.transcript import Release, Transcript

if TYPE_CHECKING:
    from bench.cell.attempt import Attempt
    from bench.cell.job import Job
    from bench.wire.capture import Capture


def score_attempt(
    job: Job,
    capture: Capture,
    targets: list[Release],
    attempt: Attempt,
    judge: Judge,
    measured: Measured,
    progress: Progress,
) -> tuple[CellOutcome, list[Panel]]:
    """Unseal the truth and compare; the attack is over by now."""
    stream = GlobalRandom(job.cell.capture.seed, "scoring", device=job.cell.capture.device)
    with stream.active():
        judged = _judged(job, capture, targets, attempt, judge, progress)
    guarantee = checked(job.new_defense()).guarantee(
        job.cell.capture.training.epochs, judge.schedule
    )
    drawn = (FLAG,) if stream.drawn else ()
    broken = tuple(f"metric-failed:{name}" for name in sorted(judged.broken_metrics))
    outcome = CellOutcome(
        status=attempt.status,
        reason=attempt.reason,
        sent=frozenset(capture.transcript.channels()),
        granted=frozenset(attempt.granted),
        read=frozenset(attempt.read),
        scores=judged.scores,
        flags=judged.flags,
        common_flags=tuple(
            dict.fromkeys((*capture.flags, *attempt.flags, *measured.flags, *drawn, *broken))
        ),
        certificates=judged.certificates,
        unsupported_metrics=judged.unsupported_metrics,
        diagnostics=attempt.diagnostics,
        labels=judged.labels,
        utility=measured.utility,
        leakage=measured.leakage,
        costs=capture.costs,
        attack_seconds=attempt.seconds,
        guarantee=guarantee,
        n=len(targets),
        gallery=judged.gallery,
        candidates=0 if attempt.gallery is None else len(attempt.gallery.names),
        update_records=max((len(g) for g in _groups(capture.transcript, targets)), default=0),
        target_epoch=targets[0].epoch if targets else None,
        duplicate_records=job.splits.duplicate_records(),
    )
    return outcome, judged.panels


@dataclass(frozen=True)
class Measured:
    """What was measured of a capture, whatever the attack.

    Attributes:
        flags: reasons to doubt the measurement.
    """

    utility: Mapping[str, float]
    leakage: Mapping[str, float]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Judged:
    """Scores of a claim, by target, and what is kept with them."""

    scores: dict[str, list[MetricScore]] = field(default_factory=dict)
    flags: dict[str, list[str]] = field(default_factory=dict)
    certificates: dict[str, Certificate] = field(default_factory=dict)
    unsupported_metrics: dict[str, Mapping[str, str]] = field(default_factory=dict)
    panels: list[Panel] = field(default_factory=list)
    labels: dict[str, float] = field(default_factory=dict)
    broken_metrics: dict[str, str] = field(default_factory=dict)
    gallery: int = 0


def _judged(
    job: Job,
    capture: Capture,
    targets: list[Release],
    attempt: Attempt,
    judge: Judge,
    progress: Progress,
) -> _Judged:
    """The scores of an attempt; empty where nothing is claimed."""
    claim = attempt.claim
    if claim is None:
        return _Judged()
    records, truth = capture.secrets.truth(targets)
    groups = _groups(capture.transcript, targets)
    distractors = job.splits.evaluation.image_batch()
    judged = _Judged(
        labels=_label_fields(job, claim, records, groups), gallery=len(targets) + len(distractors)
    )
    context = ScoringContext(
        gallery=ImageBatch.cat([truth["image"].images, distractors]),
        gallery_identities=(*records.identities, *job.splits.evaluation.identities),
        calibration=job.splits.calibration.image_batch(),
        calibration_identities=job.splits.calibration.identities,
        backbones=job.backbones,
        prompts=(*records.prompts, *job.splits.evaluation.prompts),
        text=judge.text,
    )
    spec = job.cell.capture
    source = ControlSource(
        seed=spec.seed,
        auxiliary=job.splits.auxiliary,
        codec=judge.codec,
        text=judge.text,
        gallery=attempt.gallery,
        cache=job.control_cache,
        key_parts=(
            *(spec.model_hash, spec.victim.content_hash(), job.splits.content_hash(), spec.device),
            *job.cell.backbones,
        ),
    )
    with progress.stage("scoring", len(claim.estimates)) as advance:
        for target, claimed in claim.estimates.items():
            compared = compare(target, claimed, truth, records, source, groups)
            if compared.panel is not None:
                judged.panels.append(compared.panel)
            scores = score_target(
                target,
                compared.claimed,
                compared.truth,
                compared.controls,
                job.metrics,
                context,
                seed=job.cell.capture.seed,
                known=compared.known,
                broken=judged.broken_metrics,
            )
            working = [metric for metric in job.metrics if metric.name not in judged.broken_metrics]
            judged.unsupported_metrics[target] = unsupported_metrics(target, working, context)
            _keep(job, capture, attempt, judged, target, scores)
            if target in PICTURED and len(distractors) < needed_for_fid(
                job.backbones.distribution.dim
            ):
                judged.flags[target].append("few-for-fid")
            advance(1)
    if claim.links is not None:
        _keep(job, capture, attempt, judged, LINK, _link_scores(job, capture, attempt, claim))
    return judged


def _keep(
    job: Job,
    capture: Capture,
    attempt: Attempt,
    judged: _Judged,
    target: str,
    scores: list[MetricScore],
) -> None:
    """Add the scores of one target, its flags and the certificate that it is held to."""
    judged.scores[target] = scores
    judged.flags[target] = flags(scores, attempt.diagnostics, capture.costs.losses)
    if (must := certificate_for(job.cell, type(job.attack), target)) is not None:
        judged.certificates[target] = must
        judged.flags[target] += certificate_flags(must, scores)


def _link_scores(job: Job, capture: Capture, attempt: Attempt, claim: Claim) -> list[MetricScore]:
    assert claim.links is not None
    return link_scores(
        claim.links.labels,
        capture.secrets.records_behind(attempt.releases),
        [release.epoch for release in attempt.releases],
        attempt.targets,
        seed=job.cell.capture.seed,
    )


def _groups(transcript: Transcript, targets: Sequence[Release]) -> list[list[int]]:
    """Positions of the targets that share an update; empty where every target has a row of its own."""
    groups: dict[int, list[int]] = {}
    for i, target in enumerate(targets):
        if transcript.is_update(target):
            groups.setdefault(target.step, []).append(i)
    return list(groups.values())


def _label_fields(
    job: Job, claim: Claim, records: Records, groups: Sequence[Sequence[int]]
) -> dict[str, float]:
    """What the claimed labels are worth, where there are any.

    Raises:
        BenchError: the victim's clients learn no classes.
    """
    if claim.labels is None:
        return {}
    victim = job.new_victim()
    truth, auxiliary = victim.labels(records), victim.labels(auxiliary_records(job))
    if truth is None or auxiliary is None:
        raise BenchError(f"claims labels, but the clients of {victim.name!r} learn no classes")
    return label_scores(claim.labels, truth, auxiliary, groups)
