"""What an attacker of a job knows besides the wire, and what the judge knows, who shares nothing with the attacker."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.interfaces.public import Codec, Public
from bench.interfaces.public_text import PublicText
from bench.scoring.leakage import WireModel
from bench.types.gallery import Gallery
from bench.types.images import ImageBatch
from bench.types.records import Records
from bench.types.schedule import NoiseSchedule

if TYPE_CHECKING:
    from bench.cell.job import Job
    from bench.interfaces.attack import Attack


@dataclass(frozen=True, eq=False)
class Judge:
    """Public knowledge of the judge's own: no object in it was ever handed to a plugin that
    attacks.

    Attributes:
        codec: the public autoencoder, None where the victim has none.
        text: the victim's text encoder, None where it has none.
        known: what is public of the wire, for measuring its leakage.
    """

    codec: Codec | None
    text: PublicText | None
    schedule: NoiseSchedule
    known: WireModel


def public_knowledge(job: Job) -> Public:
    """Return what the attacker knows besides the wire, under the cell's threat model; the records are copies."""
    cell = job.cell
    return job.new_victim().public(
        job.new_defense() if cell.threat.defense_known else None,
        auxiliary_records(job).copy(),
        protocol=cell.capture.protocol,
        device=cell.capture.device,
    )


def judge_of(job: Job) -> Judge:
    """Return what the judge needs to know of the victim; made anew, after the attack has ended."""
    cell = job.cell
    public = job.new_victim().public(
        job.new_defense(),
        auxiliary_records(job).copy(),
        protocol=cell.capture.protocol,
        device=cell.capture.device,
    )
    known = WireModel(public.schedule, public.stem, job.new_defense())
    return Judge(public.codec, public.text, public.schedule, known)


def auxiliary_records(job: Job) -> Records:
    """Return the attacker's records, as many as the threat model gives."""
    limit = job.cell.threat.auxiliary
    records = job.splits.auxiliary
    return records if limit is None else records.select(range(min(limit, len(records))))


def with_gallery(public: Public, attack: Attack, job: Job) -> tuple[Public, Gallery | None]:
    """Add the gallery to what an attack that looks for people knows; return it with its names too,
    for scoring.

    The attack gets a copy of the pictures.
    """
    gallery = job.new_gallery(attack.candidates) if attack.candidates else None
    shown = None if gallery is None else ImageBatch(gallery.images.pixels.clone())
    return replace(public, gallery=shown), gallery
