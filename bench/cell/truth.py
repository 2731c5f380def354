"""The unsealed truth behind the targets of a cell, and all that a claim is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.cell.judge import Judge
from bench.interfaces.metric import ScoringContext
from bench.scoring.compare import ControlSource
from bench.types.estimate import Estimate
from bench.types.images import ImageBatch
from bench.types.records import Records
from bench.wire.transcript import Release

if TYPE_CHECKING:
    from bench.cell.job import Job
    from bench.wire.capture import Capture


@dataclass(frozen=True, eq=False)
class Truth:
    """The private records behind the targets, and what a score needs besides them.

    Attributes:
        records: the record behind each target, in the order of the targets.
        pictures: the true images and conditions with their latents, by target.
        groups: positions of the targets that share an update; empty where none do.
        context: what metrics need: galleries, calibration pictures and feature extractors.
        source: what the controls are made from.
    """

    records: Records
    pictures: Mapping[str, Estimate]
    groups: Sequence[Sequence[int]]
    context: ScoringContext
    source: ControlSource

    @classmethod
    def unseal(
        cls,
        job: Job,
        capture: Capture,
        targets: list[Release],
        groups: Sequence[Sequence[int]],
        judge: Judge,
    ) -> Truth:
        """Open the sealed secrets of ``targets``; ``groups`` is kept as it is."""
        records, pictures = capture.secrets.truth(targets)
        return cls(
            records=records,
            pictures=pictures,
            groups=groups,
            context=_context(job, judge, records, pictures["image"].images),
            source=_control_source(job, judge),
        )


def _context(job: Job, judge: Judge, records: Records, images: ImageBatch) -> ScoringContext:
    evaluation, calibration = job.splits.evaluation, job.splits.calibration
    return ScoringContext(
        gallery=ImageBatch.cat([images, evaluation.image_batch()]),
        gallery_identities=(*records.identities, *evaluation.identities),
        calibration=calibration.image_batch(),
        calibration_identities=calibration.identities,
        backbones=job.backbones,
        prompts=(*records.prompts, *evaluation.prompts),
        text=judge.text,
    )


def _control_source(job: Job, judge: Judge) -> ControlSource:
    spec = job.cell.capture
    return ControlSource(
        seed=spec.seed,
        auxiliary=job.splits.auxiliary,
        codec=judge.codec,
        text=judge.text,
        gallery=judge.gallery,
        cache=job.control_cache,
        key_parts=(
            spec.model_hash,
            spec.victim.content_hash(),
            job.splits.content_hash(),
            spec.device,
            *job.cell.backbones,
        ),
    )
