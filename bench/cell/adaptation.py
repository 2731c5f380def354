"""Flags of a row whose attack did not adapt to the defence that it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bench.interfaces.consulted_defense import PREFIX, RecordedDefense
from bench.interfaces.defense import ProtectContext
from bench.interfaces.threat import View
from bench.util.rng import generator
from bench.wire.transcript import Transcript

if TYPE_CHECKING:
    from bench.cell.job import Job


def adaptation_flags(
    job: Job, transcript: Transcript, view: View, known: RecordedDefense | None
) -> tuple[str, ...]:
    """Return a flag for each single defence that changed what was read and was not consulted.

    Args:
        view: which the attack has read.
        known: the attacker's copy of the defence; None where the threat model hides the defence, so
            that no attack can adapt and none is flagged.
    """
    if known is None:
        return ()
    rows = {
        channel: transcript.rows(channel, view.releases[:2])
        if transcript.is_row_channel(channel)
        else None
        for channel in view.channels_read
    }
    count = max((len(tensor) for tensor in rows.values() if tensor is not None), default=1)
    context = ProtectContext(
        phase="training",
        timesteps=torch.zeros(count, dtype=torch.long),
        schedule=view.public.schedule,
        empty_prompt=torch.zeros(1, 1, 1),
        record_ids=[""] * count,
        rng=generator(job.cell.capture.seed, "whether an attack adapts"),
    )
    sent = job.new_victim().channels(job.cell.capture.protocol)
    names = dict.fromkeys(known.not_adapted_to(rows, sent, context))
    return tuple(f"{PREFIX}:{name}" for name in names)
