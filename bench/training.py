"""The first stage of a cell: a victim is trained, by which a capture comes to be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.capture import Capture
from bench.interfaces import TrainingPlan
from bench.knowledge import public_knowledge
from bench.progress import Progress
from bench.records import Records
from bench.rng import derived_seed, generator

if TYPE_CHECKING:
    from bench.adversary import ServerAdversary
    from bench.planning import Job


def client_seed(records: Records, seed: int) -> int:
    """Return the number from which everything that clients draw in training follows, 256 bits.

    It depends on the private records themselves, to the last pixel and letter, and on the run's ``seed``. So the same
    run draws the same on every machine that has the same records, and whoever could compute it has the records
    already: trying seeds does not lead to it.
    """
    return derived_seed(seed, "client", records.pixel_hash())


def train_capture(job: Job, out: Path, progress: Progress) -> Capture:
    """Train the job's victim under its defence; write transcript, secrets and model under ``out``."""
    spec = job.cell.capture
    plan = TrainingPlan(
        epochs=spec.training.epochs,
        batch_size=spec.training.batch_size,
        learning_rate=spec.training.learning_rate,
        seed=client_seed(job.splits.victim, spec.seed),
        device=spec.device,
        dtype=spec.training.dtype,
        adversary=server_adversary(job, progress),
    )
    return job.new_victim().train(
        job.splits.victim, job.new_defense(), plan, protocol=spec.protocol, out=out, progress=progress
    )


def server_adversary(job: Job, progress: Progress) -> ServerAdversary | None:
    """Return the server that a malicious attack puts up, with public knowledge and records of the attacker alone."""
    if job.cell.capture.adversary is None:
        return None
    rng = generator(job.cell.capture.seed, "adversary", job.attack.name)
    return job.attack.take_over(public_knowledge(job), rng=rng, progress=progress)
