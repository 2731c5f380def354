"""Run the attack of a cell on its view; keep a checked claim, or the reason why there is none."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from bench.cell.adaptation import adaptation_flags
from bench.cell.attacker import Attacker
from bench.cell.snapshot import Snapshot
from bench.cell.targets import update_groups
from bench.interfaces.attack import Attack, Budget
from bench.interfaces.threat import View
from bench.ledger.diagnostics import diagnostic_columns
from bench.scoring.claim_check import check_claim
from bench.types.channels import Channel
from bench.types.claim import Claim
from bench.util.errors import BenchError, NotApplicableError
from bench.util.failure import Failure
from bench.util.files import DiskFullError
from bench.util.global_random import FLAG, GlobalRandom
from bench.util.progress import Progress
from bench.util.rng import generator
from bench.wire.transcript import Release

if TYPE_CHECKING:
    from bench.cell.job import Job
    from bench.wire.capture import Capture


@dataclass(frozen=True, eq=False)
class Attempt:
    """The outcome of an attack: a claim or a reason.

    The attack may hold the claim and the view's releases; it never saw the rest.

    Attributes:
        status: ``ok``, ``not_applicable`` or ``failed``.
        granted, read: the channels in view, and those of them that the attack read.
        releases: all releases in view.
        targets: positions in ``releases`` of those to be claimed.
        groups: positions of the targets that share an update; empty where none do.
        candidates: how many photographs the attack looked for people among.
        reason: why the status is not ``ok``.
        diagnostics: columns ``attack_*``.
        flags: reasons to doubt every row of the cell.
        failure: what the attack raised, or what is wrong with its claim.
        seconds: wall time of the attack.
    """

    status: str
    granted: frozenset[Channel]
    read: frozenset[Channel] = frozenset()
    releases: tuple[Release, ...] = ()
    targets: tuple[int, ...] = ()
    groups: Sequence[Sequence[int]] = ()
    candidates: int = 0
    reason: str = ""
    claim: Claim | None = None
    diagnostics: Mapping[str, float | int] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    failure: Failure | None = None
    seconds: float = 0.0

    def as_failed(self, error: BaseException) -> Attempt:
        """Return this attempt without claim and diagnostics, as failed because of ``error``."""
        failure = Failure.from_error(error)
        return replace(
            self,
            status="failed",
            reason=failure.reason,
            claim=None,
            diagnostics={},
            failure=failure,
        )


def run_attack(
    job: Job, capture: Capture, targets: list[Release], attacker: Attacker, progress: Progress
) -> Attempt:
    """Project the view and run the attack on it.

    An exception of the attack becomes the attempt's reason, except for a full disk and an interrupt
    of the user.

    Raises:
        RequestError: the threat model withholds a channel that this wire does not carry.
    """
    cell, attack = job.cell, job.attack
    view = attacker.view(capture.transcript, targets)
    attempt = Attempt(
        status="failed",
        granted=view.channels,
        releases=view.releases,
        targets=view.targets,
        groups=update_groups(capture.transcript, targets),
        candidates=0 if attacker.gallery is None else len(attacker.gallery.names),
    )
    stream = GlobalRandom(cell.capture.seed, "attack", attack.name, device=cell.capture.device)
    start = time.perf_counter()
    try:
        check_applicable(attack, view)
        with stream.active():
            claim = make_claim(
                attack,
                view,
                rng=generator(cell.capture.seed, "attack", attack.name),
                budget=Budget(iterations=cell.attack.iterations, batch_size=cell.attack.batch_size),
                image_size=cell.capture.data.image_size,
                progress=progress,
            )
        columns = diagnostic_columns(attack.name, claim.diagnostics)
        attempt = replace(attempt, status="ok", claim=claim, diagnostics=columns)
    except NotApplicableError as error:
        attempt = replace(attempt, status="not_applicable", reason=str(error))
    except (DiskFullError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:
        attempt = attempt.as_failed(error)
    drawn = (FLAG,) if stream.drawn else ()
    ignored = adaptation_flags(job, capture.transcript, view, attacker.known)
    return replace(
        attempt,
        read=view.channels_read,
        flags=tuple(dict.fromkeys((*attacker.flags, *drawn, *ignored))),
        seconds=0.0 if attempt.status == "not_applicable" else time.perf_counter() - start,
    )


def check_applicable(attack: Attack, view: View) -> None:
    """Refuse a view that shows no record, or too little for the attack.

    Raises:
        NotApplicableError: with the reason.
    """
    if not view.targets:
        raise NotApplicableError("no message of this wire can be traced to individual records")
    if missing := sorted(frozenset(attack.requires) - view.channels):
        raise NotApplicableError(
            f"{attack.name} requires {', '.join(missing)}, which is not in view"
        )


def make_claim(
    attack: Attack,
    view: View,
    *,
    rng: torch.Generator,
    budget: Budget,
    image_size: int,
    progress: Progress,
) -> Claim:
    """Run ``attack`` on ``view`` and check its claim.

    Args:
        image_size: height and width of the records' pictures, in pixels.

    Raises:
        BenchError: the claim does not fit, or the attack changed an object that it received.
        NotApplicableError: the attack does not apply to this view.
    """
    targets, releases = len(view.targets), len(view.releases)
    packages = {
        name.partition(".")[0]
        for name in (type(attack).__module__, type(view.public.codec).__module__)
    }
    before = Snapshot("view", view, packages)
    claim: object = attack.run(view, rng=rng, budget=budget, progress=progress)
    if changed := before.changed():
        raise BenchError(
            f"attack {attack.name!r} changed what it was handed: {', '.join(changed[:3])}"
            + (f" and {len(changed) - 3} more places" if len(changed) > 3 else "")
            + "; work on a copy (tensor.clone())"
        )
    return check_claim(
        attack.name, claim, targets=targets, releases=releases, image_size=image_size
    )
