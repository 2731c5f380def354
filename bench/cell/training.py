"""Train a victim and record the capture: the transcript, the secrets and the trained model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cell.attacker import public_knowledge
from bench.cell.snapshot import Snapshot
from bench.interfaces.adversary_checks import CheckedAdversary
from bench.interfaces.hook_checks import with_hook_checks
from bench.interfaces.server_adversary import ServerAdversary
from bench.interfaces.victim import TrainingPlan
from bench.types.records import Records
from bench.util.errors import BenchError
from bench.util.global_random import FLAG, GlobalRandom
from bench.util.progress import Progress
from bench.util.rng import derived_seed, generator
from bench.util.type_and_shape import type_and_shape
from bench.wire.capture import FLAGS_FILE, Capture

if TYPE_CHECKING:
    from bench.cell.job import Job


def client_seed(records: Records, seed: int) -> int:
    """Return the seed of everything that clients draw in training, a number of 256 bits.

    It is derived from every pixel and letter of the private records and from the run's ``seed``. So
    a run draws the same numbers on every machine that has the records, and an attacker who could
    compute the seed would have the records already; trying seeds does not find it.
    """
    return derived_seed(seed, "client", records.pixel_hash())


def train_capture(job: Job, out: Path, progress: Progress) -> Capture:
    """Train the job's victim under its defence; write transcript, secrets and model under ``out``.

    Global generators are seeded from the clients' seed during the training, and from the attack's
    seed inside a malicious server.
    """
    spec = job.cell.capture
    seed = client_seed(job.splits.victim, spec.seed)
    adversary = server_adversary(job, progress)
    plan = TrainingPlan(
        epochs=spec.training.epochs,
        batch_size=spec.training.batch_size,
        learning_rate=spec.training.learning_rate,
        seed=seed,
        device=spec.device,
        dtype=spec.training.dtype,
        adversary=adversary,
    )
    stream = GlobalRandom(seed, "training", device=spec.device)
    with stream.active():
        capture = job.new_victim().train(
            job.splits.victim.copy(),
            with_hook_checks(job.new_defense()),
            plan,
            protocol=spec.protocol,
            out=out,
            progress=progress,
        )
    if stream.drawn or (adversary is not None and adversary.stream.drawn):
        capture = replace(capture, flags=(FLAG,))
        (out / FLAGS_FILE).write_text(json.dumps(capture.flags))
    return capture


def server_adversary(job: Job, progress: Progress) -> CheckedAdversary | None:
    """Return the server of a malicious attack, or None where the server is honest.

    The attack makes it from public knowledge and the attacker's records alone.

    Raises:
        BenchError: the attack gives no server.
    """
    if job.cell.capture.adversary is None:
        return None
    spec, attack = job.cell.capture, job.attack
    stream = GlobalRandom(spec.seed, "adversary", attack.name, device=spec.device)
    with stream.active():
        public = public_knowledge(job)
        before = Snapshot("public", public, {type(attack).__module__.partition(".")[0]})
        server = attack.take_over(
            public, rng=generator(spec.seed, "adversary", attack.name), progress=progress
        )
    if changed := before.changed():
        raise BenchError(
            f"attack {attack.name!r} changed what it was handed: {changed[0]}; work on a copy"
        )
    if not isinstance(server, ServerAdversary):
        raise BenchError(
            f"attack {attack.name!r}: take_over() must return a ServerAdversary, "
            f"got {type_and_shape(server)}"
        )
    return CheckedAdversary(attack.name, server, stream)
