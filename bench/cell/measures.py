"""Measure what a capture is worth and what its wire leaks, whatever the attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.backbones.selection import load_backbones
from bench.cell.cached_numbers import CachedNumbers, Numbers
from bench.cell.judge import Judge
from bench.interfaces.defense import Guarantee
from bench.interfaces.hook_checks import with_hook_checks
from bench.interfaces.victim import UtilityPlan
from bench.scoring.leakage import leakage
from bench.util.code_identity import code_hash
from bench.util.global_random import FLAG, GlobalRandom
from bench.util.progress import Progress

if TYPE_CHECKING:
    from bench.cell.job import Job
    from bench.wire.capture import Capture


@dataclass(frozen=True)
class Measures:
    """What is measured of a capture, whatever the attack.

    Attributes:
        utility: quality of the trained model, by name.
        leakage: what the wire leaks, under names ``leak_*``.
        guarantee: what the defence guarantees after the training, if anything.
        flags: reasons to doubt the numbers.
    """

    utility: Mapping[str, float]
    leakage: Mapping[str, float]
    guarantee: Guarantee | None = None
    flags: tuple[str, ...] = ()


def measure(
    job: Job, capture: Capture, judge: Judge, results: Path, progress: Progress, *, fresh: bool
) -> Measures:
    """Measure utility and leakage, or take the numbers that another cell has measured.

    Args:
        results: the directory below which the numbers are kept.
        fresh: measure even where numbers are kept.
    """
    cell = job.cell
    key = cell.capture.content_hash()[:16]
    utility = CachedNumbers(
        results,
        "utility",
        f"{key}-{cell.utility.content_hash()[:8]}",
        {"backbones": list(cell.backbones), "code": code_hash(load_backbones)},
        progress.note,
    ).get(lambda: measure_utility(job, capture, judge, progress), fresh=fresh)
    leaks = CachedNumbers(results, "leakage", key, {"code": code_hash(leakage)}, progress.note).get(
        lambda: Numbers(leakage(capture, judge.known)), fresh=fresh
    )
    return Measures(
        utility=utility.values,
        leakage=leaks.values,
        guarantee=with_hook_checks(judge.defense).guarantee(
            cell.capture.training.epochs, judge.schedule
        ),
        flags=tuple(dict.fromkeys((*utility.flags, *leaks.flags))),
    )


def measure_utility(job: Job, capture: Capture, judge: Judge, progress: Progress) -> Numbers:
    """Measure the quality of the trained model on the records held out for it."""
    cell = job.cell
    plan = UtilityPlan(
        steps=cell.utility.steps,
        guidance=cell.utility.guidance,
        seed=cell.utility.seed,
        device=cell.capture.device,
        condition=cell.capture.data.condition,
        backbones=job.backbones,
        progress=progress,
    )
    stream = GlobalRandom(cell.capture.seed, "utility", device=cell.capture.device)
    with stream.active():
        values = judge.victim.utility(
            capture,
            job.splits.evaluation.copy(),
            with_hook_checks(job.new_defense()),
            plan,
            protocol=cell.capture.protocol,
        )
    return Numbers(values, (FLAG,) if stream.drawn else ())
