"""What the judge of a cell knows, who shares no object with the attacker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.cell.attacker import auxiliary_records
from bench.interfaces.defense import Defense
from bench.interfaces.public import Codec
from bench.interfaces.public_text import PublicText
from bench.interfaces.victim import Victim
from bench.scoring.leakage import WireModel
from bench.types.gallery import Gallery
from bench.types.schedule import NoiseSchedule
from bench.util.global_random import GlobalRandom

if TYPE_CHECKING:
    from bench.cell.job import Job


@dataclass(frozen=True, eq=False)
class Judge:
    """The judge's knowledge of a victim; no object in it was ever handed to an attack.

    Attributes:
        victim, defense: new objects, which neither trained nor served the attacker.
        codec: the public autoencoder.
        text: the victim's text encoder, None where it has none.
        known: what is public of the wire, for measuring its leakage.
        gallery: the photographs among which the attack looked for people, with their names, or
            None.
    """

    victim: Victim
    defense: Defense
    codec: Codec
    text: PublicText | None
    schedule: NoiseSchedule
    known: WireModel
    gallery: Gallery | None

    @classmethod
    def from_job(cls, job: Job, gallery: Gallery | None = None) -> Judge:
        """Build the judge's knowledge of ``job``, after the attack has ended."""
        capture = job.cell.capture
        with GlobalRandom(capture.seed, "judge", device=capture.device).active():
            victim, defense = job.new_victim(), job.new_defense()
            public = victim.public(
                defense,
                auxiliary_records(job).copy(),
                protocol=capture.protocol,
                device=capture.device,
            )
        known = WireModel(public.schedule, public.stem, defense)
        return cls(victim, defense, public.codec, public.text, public.schedule, known, gallery)
