"""The second stage of a cell: releases are chosen, the view is projected, and the attack runs at it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from bench.cell.handed_over import Snapshot
from bench.cell.knowledge import public_knowledge, with_gallery
from bench.interfaces.attack import Budget
from bench.interfaces.threat import View
from bench.ledger.diagnostics import diagnostic_columns
from bench.scoring.claim_check import check_claim
from bench.types.channels import Channel
from bench.types.claim import Claim
from bench.types.gallery import Gallery
from bench.util.errors import BenchError, NotApplicableError, RequestError
from bench.util.failure import Failure
from bench.util.files import DiskFullError
from bench.util.global_random import FLAG, GlobalRandom
from bench.util.progress import Progress
from bench.util.rng import generator
from bench.wire.transcript import Release, Transcript

if TYPE_CHECKING:
    from bench.cell.job import Job
    from bench.wire.capture import Capture


@dataclass(frozen=True, eq=False)
class Attempt:
    """What an attack left: a claim or a reason. Nothing in it was handed to the attack but the
    claim itself.

    Attributes:
        status: ``ok``, ``not_applicable`` or ``failed``.
        granted, read: channels that were in view, and those of them that were read.
        releases: all in view; ``targets`` are positions in it.
        gallery: who the attack was to find, with names.
        diagnostics: columns ``attack_*``.
        flags: reasons to doubt every row of the cell.
        failure: what the attack raised, or what is wrong with its claim.
    """

    status: str
    granted: frozenset[Channel]
    read: frozenset[Channel] = frozenset()
    releases: tuple[Release, ...] = ()
    targets: tuple[int, ...] = ()
    reason: str = ""
    gallery: Gallery | None = None
    claim: Claim | None = None
    diagnostics: Mapping[str, float | int] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    failure: Failure | None = None
    seconds: float = 0.0

    def failed(self, error: BaseException) -> Attempt:
        """The same attempt without its claim, because of ``error``."""
        failure = Failure.from_error(error)
        return replace(
            self,
            status="failed",
            reason=failure.reason,
            claim=None,
            diagnostics={},
            failure=failure,
        )


def choose_targets(transcript: Transcript, job: Job) -> list[Release]:
    """The releases to be claimed: a draw from one epoch, where each record appears once.

    Chosen from the transcript and the seed alone, never from the secrets. Updates that several
    records went into are taken whole, one more until there are enough records.

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
        raise RequestError(
            f"epoch {spec.epoch}: the transcript has epochs 0 to {epochs[-1]}"
        ) from error
    bundles: dict[object, list[Release]] = {}
    for release in transcript.releases(epoch):
        bundles.setdefault(release.step if transcript.is_update(release) else release, []).append(
            release
        )
    chosen: list[Release] = []
    for i in torch.randperm(
        len(bundles), generator=generator(job.cell.capture.seed, "targets")
    ).tolist():
        if len(chosen) >= spec.targets:
            break
        chosen += list(bundles.values())[i]
    return sorted(chosen)


def run_attack(job: Job, capture: Capture, targets: list[Release], progress: Progress) -> Attempt:
    """Project the view, and run the attack on it.

    The attack gets copies, and its claim is checked. Whatever it raises becomes the attempt's
    reason, but for a full disk and an interrupt of the user.
    """
    cell, attack = job.cell, job.attack
    attempt = Attempt("failed", cell.threat.granted(capture.transcript.channels()))
    stream = GlobalRandom(cell.capture.seed, "attack", attack.name, device=cell.capture.device)
    view: View | None = None
    start = time.perf_counter()
    try:
        with stream.active():
            public, gallery = with_gallery(public_knowledge(job), attack, job)
            if not cell.threat.weights_known:
                public = public.without_weights()
            view = cell.threat.project(
                capture.transcript, public, targets, history=attack.uses_history
            )
            attempt = replace(
                attempt, releases=view.releases, targets=view.targets, gallery=gallery
            )
            _check_applicable(job, view)
            start = time.perf_counter()
            claim, diagnostics = _claim(job, view, progress)
        attempt = replace(attempt, status="ok", claim=claim, diagnostics=diagnostics)
    except NotApplicableError as error:
        attempt = replace(attempt, status="not_applicable", reason=str(error))
    except (DiskFullError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:
        attempt = attempt.failed(error)
    return replace(
        attempt,
        read=frozenset() if view is None else view.channels_read,
        flags=(FLAG,) if stream.drawn else (),
        seconds=0.0 if attempt.status == "not_applicable" else time.perf_counter() - start,
    )


def _check_applicable(job: Job, view: View) -> None:
    """Refuse a wire that shows no record, or too little for the attack.

    Raises:
        NotApplicableError: with the reason.
    """
    if not view.targets:
        raise NotApplicableError("no record of its own is behind any message of this wire")
    if missing := sorted(frozenset(job.attack.requires) - view.channels):
        raise NotApplicableError(
            f"{job.attack.name} requires {', '.join(missing)}, which is not in view"
        )


def _claim(job: Job, view: View, progress: Progress) -> tuple[Claim, dict[str, float | int]]:
    """The attack's claim, checked, and its diagnostics as columns.

    Raises:
        BenchError: the claim does not fit, or the attack changed what it was handed.
    """
    cell, attack = job.cell, job.attack
    targets, releases = len(view.targets), len(view.releases)
    packages = {
        name.partition(".")[0]
        for name in (type(attack).__module__, type(view.public.codec).__module__)
    }
    handed = Snapshot("view", view, packages)
    found: object = attack.run(
        view,
        rng=generator(cell.capture.seed, "attack", attack.name),
        budget=Budget(iterations=cell.attack.iterations, batch_size=cell.attack.batch_size),
        progress=progress,
    )
    if changed := handed.changed():
        raise BenchError(
            f"attack {attack.name!r} changed what it was handed: {', '.join(changed[:3])}"
            + (f" and {len(changed) - 3} more places" if len(changed) > 3 else "")
            + "; work on a copy (tensor.clone())"
        )
    size = cell.capture.data.image_size
    claim = check_claim(attack.name, found, targets=targets, releases=releases, image_size=size)
    return claim, diagnostic_columns(attack.name, claim.diagnostics)
