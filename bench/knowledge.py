"""What an attacker of a job knows besides the wire."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.gallery import Gallery
from bench.public import Public
from bench.records import Records

if TYPE_CHECKING:
    from bench.interfaces import Attack
    from bench.planning import Job


def public_knowledge(job: Job) -> Public:
    """Return what the attacker knows besides the wire, under the cell's threat model."""
    cell = job.cell
    return job.new_victim().public(
        job.new_defense() if cell.threat.defense_known else None,
        auxiliary_records(job),
        protocol=cell.capture.protocol,
        device=cell.capture.device,
    )


def auxiliary_records(job: Job) -> Records:
    """Return the attacker's records, as many as the threat model gives."""
    limit = job.cell.threat.auxiliary
    records = job.splits.auxiliary
    return records if limit is None else records.select(range(min(limit, len(records))))


def with_gallery(public: Public, attack: Attack, job: Job) -> tuple[Public, Gallery | None]:
    """Add the gallery to what an attack that looks for people knows; return it with its names too, for scoring."""
    gallery = job.new_gallery(attack.candidates) if attack.candidates else None
    return replace(public, gallery=None if gallery is None else gallery.images), gallery
