"""The rounds of a federated classifier: the clients' training and the messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.interfaces import (
    CLIENT_UPDATE,
    GLOBAL_MODEL,
    Capture,
    ImageBatch,
    Progress,
    Records,
    Release,
    SecretsWriter,
    TrainingPlan,
    TranscriptWriter,
    generator,
)
from bench.wire.capture import MODEL_DIR, TRANSCRIPT_DIR
from bench.wire.transcript import with_channel_prefix
from victims.classifier.parts.labelled_records import PooledCodec, enlarge, with_pooled_pictures
from victims.classifier.parts.public_trainer import PIXELS, ClassifierTrainer
from victims.common.capture_files import TrainingMeasurements, seal_capture
from victims.common.link import Link
from victims.common.measure import Clock

Protect = Callable[
    [Mapping[str, Tensor], Mapping[str, Tensor], Tensor, Sequence[str], torch.Generator],
    dict[str, Tensor],
]
"""Protects an update, given weights, pixels, record ids and the client's randomness."""

StepGradient = Callable[
    [Mapping[str, Tensor], Mapping[str, Tensor], torch.Generator], Mapping[str, Tensor]
]
"""Returns the gradient of one local step, given weights, inputs and the client's randomness."""


class ClassifierRounds:
    """Runs all rounds of all epochs from one set of global weights.

    Args:
        trainer: the clients' local training.
        weights: the initial global weights.
        records: the private records.
        inputs: the trainer's inputs of all records.
        step_gradient: computes the gradient of a local step.
        protect: protects an update.
        clients: how many clients share the records.
        plan: how long and with which seed to train.
    """

    def __init__(
        self,
        *,
        trainer: ClassifierTrainer,
        weights: dict[str, Tensor],
        records: Records,
        inputs: Mapping[str, Tensor],
        step_gradient: StepGradient,
        protect: Protect,
        clients: int,
        plan: TrainingPlan,
    ) -> None:
        self.trainer, self.weights = trainer, weights
        self.records, self.inputs = records, inputs
        self.step_gradient, self.protect = step_gradient, protect
        self.clients, self.plan = clients, plan
        order = torch.randperm(len(records), generator=generator(plan.seed, "shares")).tolist()
        self.shares = [order[k::clients] for k in range(clients)]
        self.private = [generator(plan.seed, "client", str(k)) for k in range(clients)]
        self.losses: list[float] = []
        self.secrets = SecretsWriter()
        self._clocks = {end: Clock(plan.device) for end in ("client", "server")}
        size = inputs[PIXELS].shape[-1]
        self._codec = PooledCodec(size, records.images.shape[-1])

    def run(self, out: Path, *, victim: str, protocol: str, progress: Progress) -> Capture:
        """Train, and write the capture under ``out``."""
        writer = TranscriptWriter(out / TRANSCRIPT_DIR, victim=victim, protocol=protocol)
        count = self.trainer.local.records
        turns = min(len(share) for share in self.shares) // count
        step = 0
        with progress.stage(
            "training the victim", self.plan.epochs * turns * self.clients
        ) as advance:
            for epoch in range(self.plan.epochs):
                orders = [
                    torch.randperm(len(share), generator=rng).tolist()
                    for share, rng in zip(self.shares, self.private, strict=True)
                ]
                for turn in range(turns):
                    mean = {name: torch.zeros_like(tensor) for name, tensor in self.weights.items()}
                    for client in range(self.clients):
                        rows = orders[client][turn * count : (turn + 1) * count]
                        sent = self._update(
                            writer, client, [self.shares[client][i] for i in rows], epoch, step
                        )
                        for name in mean:
                            mean[name] += sent[f"{CLIENT_UPDATE}/{name}"] / self.clients
                        step += 1
                        advance(1)
                    with self._clocks["server"].running():
                        self.weights = {
                            name: tensor + mean[name] for name, tensor in self.weights.items()
                        }
        (out / MODEL_DIR).mkdir()
        save_file(self.weights, out / MODEL_DIR / "classifier.safetensors")
        measurements = TrainingMeasurements(
            releases=step * count,
            losses=self.losses,
            client_seconds=self._clocks["client"].seconds,
            server_seconds=self._clocks["server"].seconds,
            device=self.plan.device,
        )
        records = with_pooled_pictures(self.records, self.inputs[PIXELS].shape[-1])
        return seal_capture(out, records, writer, self.secrets, measurements)

    def _update(
        self, writer: TranscriptWriter, client: int, index: list[int], epoch: int, step: int
    ) -> dict[str, Tensor]:
        """Return the update that the server receives from one client."""
        link = Link(writer, f"client-{client}")
        send = partial(link.send, epoch=epoch, step=step, rows=0, records=len(index))
        received = send(with_channel_prefix(GLOBAL_MODEL, self.weights.items()), "down")
        weights = {name: received[f"{GLOBAL_MODEL}/{name}"] for name in self.weights}
        with self._clocks["client"].running():
            update = self._local(weights, index, self.private[client])
            pixels, ids = self.inputs[PIXELS][index], [self.records.ids[i] for i in index]
            update = self.protect(update, weights, pixels, ids, self.private[client])
        small = ImageBatch(enlarge(self.inputs[PIXELS][index], self.records.images.shape[-1]))
        conditions = self._codec.encode(self.records.select(index).condition_batch())
        self.secrets.add(
            [Release(epoch, step, row) for row in range(len(index))],
            index,
            self._codec.encode(small),
            conditions,
        )
        return send(with_channel_prefix(CLIENT_UPDATE, update.items()), "up")

    def _local(
        self, weights: Mapping[str, Tensor], index: list[int], rng: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the sum of the SGD steps over the records in order.

        A difference of weights would round small steps away.
        """
        local = self.trainer.local
        moved = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        for start in range(0, len(index), local.batch_size):
            batch = {
                name: tensor[index[start : start + local.batch_size]]
                for name, tensor in self.inputs.items()
            }
            batch |= self.trainer.draw(len(batch[PIXELS]), rng)
            here = {name: tensor + moved[name] for name, tensor in weights.items()}
            gradient = self.step_gradient(here, batch, rng)
            moved = {name: moved[name] - local.learning_rate * gradient[name] for name in moved}
            self.losses.append(float(self.trainer.loss(here, batch)))
        return moved
