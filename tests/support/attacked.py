"""A victim that a test trains on its own records, and what an attacker sees of the training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench
from bench.interfaces import Capture, Defense, Records, Release, ThreatModel, Victim, View
from bench.types.estimate import Estimate


@dataclass(frozen=True, eq=False)
class AttackedVictim:
    """A trained victim before an attack.

    Attributes:
        capture: what the training left.
        view: what the attacker may read, with the attacked releases as targets.
        targets: the attacked releases.
    """

    capture: Capture
    view: View
    targets: list[Release]

    @property
    def records(self) -> Records:
        """The true records behind the targets."""
        return self.capture.secrets.truth(self.targets)[0]

    @property
    def truth(self) -> dict[str, Estimate]:
        """The true pictures behind the targets, with their latents."""
        return dict(self.capture.secrets.truth(self.targets)[1])


def train_and_view(
    victim: Victim,
    records: Records,
    out: Path,
    *,
    defense: Defense | None = None,
    auxiliary: Records | None = None,
    epoch: int = 0,
    count: int | None = None,
    threat: ThreatModel | None = None,
    history: bool = False,
    **training: Any,
) -> AttackedVictim:
    """Train a victim, and project the view of an attacker.

    Args:
        victim: the object to train, which also says what is public.
        records: the private records.
        out: a directory for the capture that does not exist yet.
        defense: what the clients do, which the attacker knows; nothing by default.
        auxiliary: the attacker's records; the private ones by default.
        epoch: whose releases are attacked.
        count: how many of them, from the first; all by default.
        threat: an honest server by default.
        history: the view holds the releases of every epoch.
        training: arguments of ``bench.train``; by default a learning rate of 1e-3 and three records
            a step.
    """
    values = {"batch_size": 3, "learning_rate": 1e-3, **training}
    capture = bench.train(victim, records, out, defense=defense, **values)
    targets = capture.transcript.releases(epoch)[:count]
    public = victim.public(
        defense,
        records if auxiliary is None else auxiliary,
        protocol=capture.transcript.header.protocol,
        device="cpu",
    )
    view = (threat or ThreatModel()).project(capture.transcript, public, targets, history=history)
    return AttackedVictim(capture, view, targets)
