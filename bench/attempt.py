"""The second stage of a cell: releases are chosen, the view is projected, and the attack runs at it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from bench.errors import BenchError, NotApplicableError, RequestError
from bench.facts import Labels, Lineup
from bench.files import DiskFullError
from bench.gallery import Gallery
from bench.interfaces import Budget, Claim, Estimate
from bench.knowledge import public_knowledge, with_gallery
from bench.leakage import Known
from bench.progress import Progress
from bench.public_text import PublicText
from bench.rng import generator
from bench.targets import ATTRIBUTE, EVERY, IDENTITY, PROMPT
from bench.threat import View
from bench.transcript import Release, Transcript
from bench.wording import Wording

if TYPE_CHECKING:
    from bench.capture import Capture
    from bench.planning import Job

CLAIMED: Mapping[str, type] = {PROMPT: Wording, ATTRIBUTE: Labels, IDENTITY: Lineup}
"""What is claimed of each target that is not a picture."""


@dataclass(frozen=True, eq=False)
class Attempt:
    """What an attack left: the view it had, and a claim or a reason.

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


def run_attack(job: Job, capture: Capture, targets: list[Release], progress: Progress) -> Attempt:
    """Project the view, and run the attack on it."""
    cell, attack = job.cell, job.attack
    public = public_knowledge(job)
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
            progress=progress,
        )
        _check_claim(claim, len(targets))
        if claim.links is not None and len(claim.links.labels) != len(view.releases):
            raise BenchError(f"claims {len(claim.links.labels)} link labels for {len(view.releases)} releases")
    except NotApplicableError as error:
        return Attempt(view, text, gallery, known, None, "not_applicable", str(error), 0.0)
    except (DiskFullError, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return Attempt(view, text, gallery, known, None, "failed", reason, time.perf_counter() - start)
    return Attempt(view, text, gallery, known, claim, "ok", "", time.perf_counter() - start)


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
