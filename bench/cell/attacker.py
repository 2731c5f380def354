"""What the attacker of a cell knows besides the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.interfaces.consulted_defense import RecordedDefense
from bench.interfaces.public import Public
from bench.interfaces.threat import ThreatModel, View
from bench.types.gallery import Gallery
from bench.types.images import ImageBatch
from bench.types.records import Records
from bench.util.global_random import FLAG, GlobalRandom
from bench.wire.transcript import Release, Transcript

if TYPE_CHECKING:
    from bench.cell.job import Job


@dataclass(frozen=True, eq=False)
class Attacker:
    """An attacker's knowledge, built once for a cell; ``view`` hides what the threat model hides.

    Attributes:
        public: public knowledge, with the weights of the client half; ``view`` passes it on.
        threat: the threat model that ``view`` applies.
        uses_history: the attack reads the releases of every epoch, not only the targets.
        gallery: the photographs among which the attack looks for people, with their names, or None.
            ``public`` holds a copy of the photographs without names; ``view`` never passes on this
            object.
        known: the record of the hooks that the attack uses of the defence in ``public``, or None.
        flags: reasons to doubt every row of the cell.
    """

    public: Public
    threat: ThreatModel
    uses_history: bool = False
    gallery: Gallery | None = None
    known: RecordedDefense | None = None
    flags: tuple[str, ...] = ()

    @classmethod
    def from_job(cls, job: Job) -> Attacker:
        """Build the knowledge of the attacker of ``job``, from copies of the attacker's records."""
        cell, attack = job.cell, job.attack
        stream = GlobalRandom(
            cell.capture.seed, "attacker", attack.name, device=cell.capture.device
        )
        with stream.active():
            gallery = job.new_gallery(attack.candidates) if attack.candidates else None
            photographs = None if gallery is None else ImageBatch(gallery.images.pixels.clone())
            public = replace(public_knowledge(job), gallery=photographs)
        return cls(
            public=public,
            threat=cell.threat,
            uses_history=attack.uses_history,
            gallery=gallery,
            known=None if public.defense is None else RecordedDefense(public.defense),
            flags=(FLAG,) if stream.drawn else (),
        )

    def view(self, transcript: Transcript, targets: Sequence[Release]) -> View:
        """Return what the attack may read of ``transcript``, with the knowledge that it may have.

        Args:
            targets: the releases to be claimed.

        Raises:
            RequestError: the threat model withholds a channel that this wire does not carry.
        """
        public = self.public if self.threat.weights_known else self.public.without_weights()
        return self.threat.project(transcript, public, targets, history=self.uses_history)


def public_knowledge(job: Job) -> Public:
    """Return what an attacker of ``job`` knows besides the wire.

    A new victim makes it, the defence is in it only where the threat model says that the attacker
    knows it, and its records are copies.
    """
    cell = job.cell
    return job.new_victim().public(
        job.new_defense() if cell.threat.defense_known else None,
        auxiliary_records(job).copy(),
        protocol=cell.capture.protocol,
        device=cell.capture.device,
    )


def auxiliary_records(job: Job) -> Records:
    """Return the attacker's records, as many as the threat model gives."""
    limit = job.cell.threat.auxiliary
    records = job.splits.auxiliary
    return records if limit is None else records.select(range(min(limit, len(records))))
