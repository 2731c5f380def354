"""One training of a split ControlNet: both halves and the wire between them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.interfaces import (
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    LOSS_GRADIENT,
    NOISE_TARGET,
    PREDICTION_DOWN,
    TIMESTEP,
    Channel,
    Records,
    Release,
    SecretsWriter,
    TrainingPlan,
    TranscriptWriter,
)
from bench.wire.transcript import with_channel_prefix
from victims.common.link import Link
from victims.common.measure import Clock
from victims.diffusion.parts.client import ClientHalf, ClientRandomness
from victims.diffusion.parts.encoded_records import Batch
from victims.diffusion.parts.server import ServerHalf


class SplitTraining:
    """Trains both halves step by step over the wire.

    Args:
        client: the client's half.
        server: the server's half.
        writer: keeps every message.
        plan: with which learning rate, seed and adversary to train.
    """

    def __init__(
        self, client: ClientHalf, server: ServerHalf, writer: TranscriptWriter, plan: TrainingPlan
    ) -> None:
        self.client, self.server, self.plan = client, server, plan
        self._link = Link(writer)
        self.secrets = SecretsWriter()
        self.client_clock, self.server_clock = Clock(plan.device), Clock(plan.device)
        self.losses: list[float] = []
        self._rng = ClientRandomness.seeded(plan.seed)
        trained = [p for p in client.stem.parameters() if p.requires_grad]
        self._optimizer = (
            torch.optim.AdamW(trained, lr=plan.learning_rate)
            if server.returns_gradient and trained
            else None
        )

    def step(self, records: Records, index: list[int], step: int, epoch: int) -> None:
        """Train on one batch."""
        with self.client_clock.running():
            batch = self.client.encode(records, index, self._rng)
            with torch.set_grad_enabled(self._optimizer is not None):
                released = self.client.compute(batch, self._rng)
        self.secrets.add(
            [Release(epoch, step, row) for row in range(len(index))],
            index,
            batch.image_latents,
            batch.condition_latents,
        )
        kept = self.client.defense.withheld | (
            frozenset() if self.server.keeps_loss else {NOISE_TARGET}
        )
        features = {c: t for c, t in released.items() if c not in kept}
        answer = self._exchange(features, step, epoch, len(index))
        if answer is not None and PREDICTION_DOWN in answer:
            with self.client_clock.running():
                gradient = self._loss_gradient(answer[PREDICTION_DOWN], released[NOISE_TARGET])
                context = self.client.context(
                    "training", released[TIMESTEP], batch.record_ids, self._rng.protection
                )
                gradient = self.client.defense.protect(LOSS_GRADIENT, gradient, context)
            answer = self._exchange({LOSS_GRADIENT: gradient}, step, epoch, len(index))
        else:
            self.losses.append(self.server.losses[-1])
        if self._optimizer is not None and answer is not None:
            with self.client_clock.running():
                self._client_step(self._optimizer, batch, released, answer[GRADIENT_DOWN])

    def send_weights(self, step: int, epoch: int) -> None:
        """Send the client's trained weights after the last step."""
        if self._optimizer is not None:
            weights = with_channel_prefix(CLIENT_WEIGHTS, self.client.stem.state_dict().items())
            self._link.send(weights, "up", epoch=epoch, step=step, rows=0)

    def _exchange(
        self, tensors: Mapping[Channel, Tensor], step: int, epoch: int, rows: int
    ) -> dict[str, Tensor] | None:
        received = self._link.send(tensors, "up", epoch=epoch, step=step, rows=rows)
        with self.server_clock.running():
            answer = self.server.receive(received)
        if answer is None:
            return None
        if self.plan.adversary is not None:
            with self.server_clock.running():
                answer = dict(
                    self.plan.adversary.answer({Channel(c): t for c, t in received.items()}, answer)
                )
        return self._link.send(answer, "down", epoch=epoch, step=step, rows=rows)

    def _loss_gradient(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return dL/deps_hat of the mean squared error, and keep the loss for the loss curve."""
        output = prediction.to(target.device).requires_grad_(True)
        loss = torch.nn.functional.mse_loss(output, target.detach().float())
        self.losses.append(float(loss.detach()))
        return torch.autograd.grad(loss, output)[0]

    def _client_step(
        self,
        optimizer: torch.optim.Optimizer,
        batch: Batch,
        released: Mapping[Channel, Tensor],
        gradient: Tensor,
    ) -> None:
        optimizer.zero_grad(set_to_none=True)
        sent = released[CONTROL_FEATURES]
        private = {"condition": batch.condition, "image_latents": batch.image_latents}
        extra = self.client.defense.client_loss(private, released)
        sent.backward(gradient.to(sent), retain_graph=extra is not None)  # type: ignore[no-untyped-call]
        if extra is not None:
            extra.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        self.client.defense.train_step()
