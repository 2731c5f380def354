"""Train a victim on records of one's choice, without data sets, splits or a ledger."""

from __future__ import annotations

from pathlib import Path

from bench.api.progress import progress_of
from bench.api.rows import PathText
from bench.interfaces.defense import Defense
from bench.interfaces.server_adversary import ServerAdversary
from bench.interfaces.victim import TrainingPlan, Victim
from bench.types.records import Records
from bench.util.errors import RequestError
from bench.wire.capture import Capture


def train(
    victim: Victim,
    records: Records,
    out: PathText,
    *,
    defense: Defense | None = None,
    protocol: str | None = None,
    epochs: int = 1,
    batch_size: int = 8,
    learning_rate: float = 5e-4,
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "fp32",
    adversary: ServerAdversary | None = None,
    progress: bool = False,
) -> Capture:
    """Train a victim object on the given records, and return what it leaves behind.

    For studies of one victim, and for the tests of a new one. :func:`bench.capture` trains by name
    instead, with data, splits and controls that make scores comparable.

    Args:
        victim: the object to train.
        records: the private records.
        out: a directory that does not exist yet; the capture is written there.
        defense: what the clients do; nothing by default.
        protocol: who computes what; the victim's first by default.
        epochs: passes over the records.
        batch_size: records a step.
        learning_rate: of the victim's optimiser.
        seed: of everything that the clients draw.
        device: a torch device.
        dtype: ``fp32`` or ``bf16``.
        adversary: replaces the server; by default it is honest.
        progress: show the stages of the work.

    Raises:
        RequestError: the victim has no such protocol.

    Example:
        >>> victim = bench.build("victims", "split-cnn:size=16")  # doctest: +SKIP
        >>> data = bench.build("datasets", "portraits:photos_per_identity=1")  # doctest: +SKIP
        >>> bench.train(victim, data.load(64, ...), "somewhere/capture")  # doctest: +SKIP
    """
    chosen = victim.protocols[0] if protocol is None else protocol
    if chosen not in victim.protocols:
        known = ", ".join(victim.protocols)
        raise RequestError(f"victim {victim.name!r} has no protocol {chosen!r}; it has {known}")
    plan = TrainingPlan(epochs, batch_size, learning_rate, seed, device, dtype, adversary=adversary)
    return victim.train(
        records,
        defense or Defense(),
        plan,
        protocol=chosen,
        out=Path(out),
        progress=progress_of(progress),
    )
