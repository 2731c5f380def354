"""The third stage of a cell: the truth is unsealed and the claim is scored against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.certificate import Certificate, due
from bench.comparison import compare
from bench.errors import BenchError
from bench.images import ImageBatch
from bench.interfaces import Claim
from bench.knowledge import auxiliary_records
from bench.label_scores import label_scores
from bench.links import link_scores
from bench.measure import ScoringContext
from bench.metrics.distribution import needed_for_fid
from bench.picture import Panel
from bench.progress import Progress
from bench.records import Records
from bench.rows import Outcome
from bench.scoring import MetricScore, flags, missed, score_target, unscored
from bench.targets import LINK, PICTURED
from bench.transcript import Release, Transcript

if TYPE_CHECKING:
    from bench.attempt import Attempt
    from bench.capture import Capture
    from bench.planning import Job


def score_attempt(
    job: Job,
    capture: Capture,
    targets: list[Release],
    attempt: Attempt,
    utility: Mapping[str, float],
    leakage: Mapping[str, float],
    progress: Progress,
) -> tuple[Outcome, list[Panel]]:
    """Unseal the truth and compare; the attack is over by now."""
    scores: dict[str, list[MetricScore]] = {}
    found: dict[str, list[str]] = {}
    certificates: dict[str, Certificate] = {}
    reasons: dict[str, Mapping[str, str]] = {}
    panels: list[Panel] = []
    gallery = 0
    diagnostics: dict[str, float] = {}
    if attempt.claim is not None:
        records, truth = capture.secrets.truth(targets)
        groups = _groups(capture.transcript, targets)
        diagnostics = {**attempt.claim.diagnostics, **_label_fields(job, attempt.claim, records, groups)}
        distractors = job.splits.evaluation.image_batch()
        gallery = len(targets) + len(distractors)
        context = ScoringContext(
            gallery=ImageBatch.cat([truth["image"].images, distractors]),
            gallery_identities=(*records.identities, *job.splits.evaluation.identities),
            calibration=job.splits.calibration.image_batch(),
            calibration_identities=job.splits.calibration.identities,
            backbones=job.backbones,
            prompts=(*records.prompts, *job.splits.evaluation.prompts),
            text=attempt.text,
        )
        codec = attempt.view.public.codec
        with progress.stage("scoring", len(attempt.claim.estimates)) as advance:
            for target, claimed in attempt.claim.estimates.items():
                compared = compare(job, target, claimed, truth, records, attempt.text, attempt.gallery, codec, groups)
                if compared.panel is not None:
                    panels.append(compared.panel)
                scores[target] = score_target(
                    target,
                    compared.claimed,
                    compared.told,
                    compared.controls,
                    job.metrics,
                    context,
                    seed=job.cell.capture.seed,
                    known=compared.known,
                )
                reasons[target] = unscored(target, job.metrics, context)
                found[target] = flags(scores[target], attempt.claim.diagnostics, capture.costs.losses)
                if (must := due(job.cell, type(job.attack), target)) is not None:
                    certificates[target] = must
                    found[target] += missed(must, scores[target])
                if target in PICTURED and len(distractors) < needed_for_fid(job.backbones.distribution.dim):
                    found[target].append("few-for-fid")
                advance(1)
        if attempt.claim.links is not None:
            scores[LINK] = _link_scores(job, capture, attempt)
            found[LINK] = flags(scores[LINK], attempt.claim.diagnostics, capture.costs.losses)
            if (must := due(job.cell, type(job.attack), LINK)) is not None:
                certificates[LINK] = must
                found[LINK] += missed(must, scores[LINK])
    defense = job.new_defense()
    epochs = job.cell.capture.training.epochs
    outcome = Outcome(
        status=attempt.status,
        reason=attempt.reason,
        sent=frozenset(capture.transcript.channels()),
        granted=frozenset(attempt.view.channels),
        read=frozenset(attempt.view.channels_read),
        scores=scores,
        flags=found,
        certificates=certificates,
        unscored=reasons,
        diagnostics=diagnostics,
        utility=utility,
        leakage=leakage,
        costs=capture.costs,
        attack_seconds=attempt.seconds,
        guarantee=defense.guarantee(epochs, attempt.view.public.schedule),
        n=len(targets),
        gallery=gallery,
        candidates=0 if attempt.gallery is None else len(attempt.gallery.names),
        update_records=max((len(g) for g in _groups(capture.transcript, targets)), default=0),
        target_epoch=targets[0].epoch if targets else None,
        duplicate_records=job.splits.duplicate_records(),
    )
    return outcome, panels


def _link_scores(job: Job, capture: Capture, attempt: Attempt) -> list[MetricScore]:
    view, claim = attempt.view, attempt.claim
    assert claim is not None
    assert claim.links is not None
    return link_scores(
        claim.links.labels,
        capture.secrets.records_behind(view.releases),
        [release.epoch for release in view.releases],
        view.targets,
        seed=job.cell.capture.seed,
    )


def _groups(transcript: Transcript, targets: Sequence[Release]) -> list[list[int]]:
    """Positions of the targets that share an update; empty where every target has a row of its own."""
    groups: dict[int, list[int]] = {}
    for i, target in enumerate(targets):
        if transcript.is_update(target):
            groups.setdefault(target.step, []).append(i)
    return list(groups.values())


def _label_fields(job: Job, claim: Claim, records: Records, groups: Sequence[Sequence[int]]) -> dict[str, float]:
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
