"""Runs one cell from end to end: capture, view, attack, scores, row."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bench.adversary import ServerAdversary
from bench.capture import Capture
from bench.certificate import Certificate, due
from bench.comparison import compare
from bench.errors import BenchError, NotApplicableError, RequestError
from bench.facts import Labels, Lineup
from bench.files import DiskFullError, disk_errors, kept_numbers, write_text
from bench.gallery import Gallery
from bench.images import ImageBatch
from bench.interfaces import Attack, Budget, Claim, Estimate, TrainingPlan, UtilityPlan, generator
from bench.label_scores import label_scores
from bench.leakage import Known, stored_leakage
from bench.ledger import Ledger
from bench.links import link_scores
from bench.locks import locked
from bench.measure import ScoringContext
from bench.metrics.distribution import needed_for_fid
from bench.picture import Panel, save_picture
from bench.planning import Job
from bench.progress import Progress
from bench.public import Public
from bench.public_text import PublicText
from bench.records import Records
from bench.registry import Registry
from bench.result import CellResult
from bench.rows import Outcome, Value, make_rows
from bench.score_files import RecordScore
from bench.scoring import MetricScore, flags, missed, score_target
from bench.spec import CellSpec
from bench.store import CaptureStore
from bench.targets import ATTRIBUTE, EVERY, IDENTITY, LINK, PICTURED, PROMPT, TARGETS
from bench.threat import View
from bench.transcript import Release, Transcript
from bench.wording import Wording

CLAIMED: Mapping[str, type] = {PROMPT: Wording, ATTRIBUTE: Labels, IDENTITY: Lineup}
"""What is claimed of each target that is not a picture."""


class Runner:
    """Runs jobs under one results directory."""

    def __init__(self, results: Path, progress: Progress) -> None:
        self.results = results
        self._progress = progress
        self._store = CaptureStore(results)

    def run(self, job: Job, *, fresh: bool = False) -> CellResult:
        """Run one cell and store its rows; raises as ``compute``."""
        ledger = Ledger(self.results, self._progress)
        result = self.compute(job, fresh=fresh)
        store(ledger, job.cell, result)
        return result

    def compute(self, job: Job, *, fresh: bool = False) -> CellResult:
        """Run one cell; the ledger is not touched.

        An attack that does not apply or raises still gives rows, with the status and the reason. Wrong
        requests, unusable data and a full disk are raised before or instead of that.
        """
        if job.obstacle:
            return without_scores(job.cell, "not_applicable", job.obstacle, split_hash=job.splits.manifest_hash())
        start = time.perf_counter()
        capture, reused = self._store.get(
            job.cell.capture, lambda out: self._train(job, out), fresh=fresh, progress=self._progress
        )
        utility = self._utility(job, capture, fresh)
        targets = choose_targets(capture.transcript, job)
        attempt = self._attack(job, capture, targets)
        try:
            outcome, panels = self._score(job, capture, targets, attempt, utility, fresh)
        except BenchError as error:  # the claim cannot be scored: its shape, or a value that is not finite
            attempt = replace(attempt, claim=None, status="failed", reason=str(error))
            outcome, panels = self._score(job, capture, targets, attempt, utility, fresh)
        records = [name.partition(":")[2] for name in capture.secrets.truth(targets)[0].ids]
        return CellResult(
            rows=_rows(job.cell, outcome, job.splits.manifest_hash()),
            scores=tuple(
                RecordScore(target, score.metric, record, float(value))
                for target, scores in outcome.scores.items()
                for score in scores
                for record, value in zip(records, score.values, strict=True)
            ),
            utility=utility,
            reused=reused,
            picture=self._picture(job, panels),
            seconds=time.perf_counter() - start,
        )

    def _train(self, job: Job, out: Path) -> Capture:
        spec = job.cell.capture
        plan = TrainingPlan(
            epochs=spec.training.epochs,
            batch_size=spec.training.batch_size,
            learning_rate=spec.training.learning_rate,
            seed=spec.seed,
            device=spec.device,
            dtype=spec.training.dtype,
            adversary=self._adversary(job),
        )
        return job.new_victim().train(
            job.splits.victim, job.new_defense(), plan, protocol=spec.protocol, out=out, progress=self._progress
        )

    def _adversary(self, job: Job) -> ServerAdversary | None:
        """The server that a malicious attack puts up, with public knowledge and records of its own."""
        if job.cell.capture.adversary is None:
            return None
        rng = generator(job.cell.capture.seed, "adversary", job.attack.name)
        return job.attack.take_over(self._public(job), rng=rng, progress=self._progress)

    def _public(self, job: Job) -> Public:
        """What the attacker knows besides the wire, under the cell's threat model."""
        cell = job.cell
        return job.new_victim().public(
            job.new_defense() if cell.threat.defense_known else None,
            _auxiliary(job),
            protocol=cell.capture.protocol,
            device=cell.capture.device,
        )

    def _utility(self, job: Job, capture: Capture, fresh: bool) -> Mapping[str, float]:
        """Quality of the trained model; kept beside the captures, since every attack on one shares it."""
        cell = job.cell
        key = f"{cell.capture.content_hash()[:16]}-{cell.utility.content_hash()[:8]}"
        file = self.results / "utility" / f"{key}.json"
        with locked(self.results / "locks" / f"utility-{key}"):
            return self._stored_utility(job, capture, file, fresh)

    def _stored_utility(self, job: Job, capture: Capture, file: Path, fresh: bool) -> Mapping[str, float]:
        cell = job.cell
        expected = {"backbones": list(cell.backbones)}

        def pick(stored: dict[str, Any]) -> Any:
            return stored["utility"] if stored["backbones"] == expected["backbones"] else None

        kept = None if fresh else kept_numbers(file, pick, self._progress.note)
        if kept is not None:
            return kept
        plan = UtilityPlan(
            steps=cell.utility.steps,
            guidance=cell.utility.guidance,
            seed=cell.utility.seed,
            device=cell.capture.device,
            condition=cell.capture.data.condition,
            backbones=job.backbones,
            progress=self._progress,
        )
        utility = job.new_victim().utility(
            capture, job.splits.evaluation, job.new_defense(), plan, protocol=cell.capture.protocol
        )
        with disk_errors(file):
            write_text(file, json.dumps({**expected, "utility": dict(utility)}, indent=1))
        return utility

    def _attack(self, job: Job, capture: Capture, targets: list[Release]) -> _Attempt:
        """Project the view, and let the attack at it."""
        cell, attack = job.cell, job.attack
        public = self._public(job)
        text, known = public.text, Known(public.schedule, public.stem, job.new_defense())
        public, gallery = with_gallery(public, attack, job)
        if not cell.threat.weights_known:
            public = public.without_weights()
        view = cell.threat.project(capture.transcript, public, targets, history=attack.uses_history)
        missing = sorted(attack.requires - view.channels)
        start = time.perf_counter()
        try:
            if not targets:
                raise NotApplicableError("no record of its own is behind any message of this wire")
            if missing:
                raise NotApplicableError(f"{attack.name} requires {', '.join(missing)}, which is not in view")
            claim = attack.run(
                view,
                rng=generator(cell.capture.seed, "attack", attack.name),
                budget=Budget(iterations=cell.attack.iterations, batch_size=cell.attack.batch_size),
                progress=self._progress,
            )
            _check_claim(claim, len(targets))
            if claim.links is not None and len(claim.links.labels) != len(view.releases):
                raise BenchError(f"claims {len(claim.links.labels)} link labels for {len(view.releases)} releases")
        except NotApplicableError as error:
            return _Attempt(view, text, gallery, known, None, "not_applicable", str(error), 0.0)
        except (DiskFullError, KeyboardInterrupt):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            return _Attempt(view, text, gallery, known, None, "failed", reason, time.perf_counter() - start)
        return _Attempt(view, text, gallery, known, claim, "ok", "", time.perf_counter() - start)

    def _score(
        self,
        job: Job,
        capture: Capture,
        targets: list[Release],
        attempt: _Attempt,
        utility: Mapping[str, float],
        fresh: bool,
    ) -> tuple[Outcome, list[Panel]]:
        """Unseal the truth and compare; the attack is over by now."""
        scores: dict[str, list[MetricScore]] = {}
        found: dict[str, list[str]] = {}
        certificates: dict[str, Certificate] = {}
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
                calibration=job.splits.calibration.image_batch(),
                backbones=job.backbones,
                prompts=(*records.prompts, *job.splits.evaluation.prompts),
                text=attempt.text,
            )
            codec = attempt.view.public.codec
            with self._progress.stage("scoring", len(attempt.claim.estimates)) as advance:
                for target, claimed in attempt.claim.estimates.items():
                    compared = compare(
                        job, target, claimed, truth, records, attempt.text, attempt.gallery, codec, groups
                    )
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
            diagnostics=diagnostics,
            utility=utility,
            leakage=self._leakage(job, capture, attempt.known, fresh),
            costs=capture.costs,
            attack_seconds=attempt.seconds,
            guarantee=defense.guarantee(epochs, attempt.view.public.schedule),
            n=len(targets),
            gallery=gallery,
            candidates=0 if attempt.gallery is None else len(attempt.gallery.names),
            update_records=max((len(g) for g in _groups(capture.transcript, targets)), default=0),
            target_epoch=targets[0].epoch if targets else None,
        )
        return outcome, panels

    def _leakage(self, job: Job, capture: Capture, known: Known, fresh: bool) -> Mapping[str, float]:
        file = self.results / "leakage" / f"{job.cell.capture.content_hash()[:16]}.json"
        return stored_leakage(file, capture, known, fresh=fresh, note=self._progress.note)

    def _picture(self, job: Job, panels: list[Panel]) -> Path | None:
        if not panels:
            return None
        path = self.results / "pictures" / f"{job.cell.cell_id}.png"
        with disk_errors(path):
            title = f"{job.cell.attack.attack.label} against {'+'.join(d.label for d in job.cell.capture.defense)}"
            save_picture(path, panels, title)
        return path


@dataclass(frozen=True, eq=False)
class _Attempt:
    """What the attack left: the view it had, and a claim or a reason.

    Attributes:
        text: the victim's text encoder, for scoring; the view may be without it.
        gallery: who the attack was to find, with names.
        known: what is public of the wire, for measuring its leakage; likewise.
    """

    view: View
    text: PublicText | None
    gallery: Gallery | None
    known: Known
    claim: Claim | None
    status: str
    reason: str
    seconds: float


def store(ledger: Ledger, cell: CellSpec, result: CellResult) -> None:
    """Write a result into the ledger."""
    ledger.write(
        cell.cell_id,
        cell.capture.content_hash()[:16],
        cell.canonical(),
        result.rows,
        result.scores,
        seconds=result.seconds,
        trained=not result.reused,
    )


def without_scores(
    cell: CellSpec, status: str, reason: str, *, split_hash: str, seconds: float = 0.0, refused: bool = False
) -> CellResult:
    """What is kept of a cell that was not attacked, or not to the end."""
    rows = _rows(cell, Outcome(status=status, reason=reason), split_hash)
    return CellResult(rows=rows, reused=True, seconds=seconds, refused=refused)


def _rows(cell: CellSpec, outcome: Outcome, split_hash: str) -> list[dict[str, Value]]:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    spoken_of = speaks_of(cell)
    claimed = tuple(target for target in outcome.scores if target not in spoken_of)
    return make_rows(cell, outcome, split_hash=split_hash, targets=(*spoken_of, *claimed), created=created)


def speaks_of(cell: CellSpec) -> tuple[str, ...]:
    """The targets that a cell has rows for, whatever comes of it."""
    attacks: Registry[Attack] = Registry("attacks", Attack)  # type: ignore[type-abstract]
    try:
        return attacks.load(cell.attack.attack.name).speaks_of
    except RequestError:  # its package is not here any more
        return TARGETS


def _link_scores(job: Job, capture: Capture, attempt: _Attempt) -> list[MetricScore]:
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


def choose_targets(transcript: Transcript, job: Job) -> list[Release]:
    """The releases to be claimed: a draw from one epoch, where each record appears once.

    Chosen from the transcript and the seed alone, never from the secrets. Updates that several records went
    into are taken whole, one more until there are enough records.

    Raises:
        RequestError: the transcript has no such epoch.
    """
    spec = job.cell.attack
    epochs = transcript.epochs()
    if not epochs:
        return []
    try:
        epoch = epochs[spec.epoch]
    except IndexError as error:
        raise RequestError(f"epoch {spec.epoch}: the transcript has epochs 0 to {epochs[-1]}") from error
    bundles: dict[object, list[Release]] = {}
    for release in transcript.releases(epoch):
        bundles.setdefault(release.step if transcript.is_update(release) else release, []).append(release)
    chosen: list[Release] = []
    for i in torch.randperm(len(bundles), generator=generator(job.cell.capture.seed, "targets")).tolist():
        if len(chosen) >= spec.targets:
            break
        chosen += list(bundles.values())[i]
    return sorted(chosen)


def with_gallery(public: Public, attack: Attack, job: Job) -> tuple[Public, Gallery | None]:
    """What an attack that looks for people is given besides; and the gallery with its names, for scoring."""
    gallery = job.new_gallery(attack.candidates) if attack.candidates else None
    return replace(public, gallery=None if gallery is None else gallery.images), gallery


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
    truth, auxiliary = victim.labels(records), victim.labels(_auxiliary(job))
    if truth is None or auxiliary is None:
        raise BenchError(f"claims labels, but the clients of {victim.name!r} learn no classes")
    return label_scores(claim.labels, truth, auxiliary, groups)


def _auxiliary(job: Job) -> Records:
    limit = job.cell.threat.auxiliary
    records = job.splits.auxiliary
    return records if limit is None else records.select(range(min(limit, len(records))))


def _check_claim(claim: Claim, count: int) -> None:
    """Refuse a claim that does not fit its targets; a plugin's mistake becomes the cell's reason."""
    for target, estimate in claim.estimates.items():
        if target not in EVERY:
            raise BenchError(f"claims an unknown target {target!r}; known: {', '.join(EVERY)}")
        if not isinstance(estimate, CLAIMED.get(target, Estimate)):
            raise BenchError(f"claims a {type(estimate).__name__} as the {target}")
        claimed = len(estimate.images) if isinstance(estimate, Estimate) else len(estimate)
        if claimed != count:
            raise BenchError(f"claims {claimed} {target}s for {count} releases")
    if claim.labels is not None and (claim.labels.ndim != 2 or len(claim.labels) != count):
        raise BenchError(f"claims labels of shape {tuple(claim.labels.shape)} for {count} releases")
