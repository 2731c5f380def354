"""Split training of a ControlNet between a client and a server (METHODS 1.1, arXiv:2409.08503)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.interfaces import (
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    LOSS_GRADIENT,
    NOISE_TARGET,
    POOLED_PROMPT,
    PREDICTION_DOWN,
    PROMPT_EMBEDDING,
    TIMESTEP,
    UNET_FEATURES,
    Capture,
    Card,
    Channel,
    DataError,
    Defense,
    Progress,
    Records,
    Release,
    SecretsWriter,
    TrainingPlan,
    Transcript,
    TranscriptWriter,
)
from bench.wire.capture import TRANSCRIPT_DIR
from bench.wire.transcript import Message, with_channel_prefix
from victims.common.batches import epoch_batches
from victims.common.measure import Clock
from victims.diffusion.parts.base import PUBLIC_SEED, DiffusionVictim, Measured, TrainedParts
from victims.diffusion.parts.client import ClientHalf, ClientRandomness, client_secret
from victims.diffusion.parts.controlnet import new_controlnet, server_unet
from victims.diffusion.parts.server import ServerHalf
from victims.diffusion.parts.size_report import Division, Wire, payload
from victims.stable_diffusion.files import locate, native_size
from victims.stable_diffusion.model_kind import SDXL, model_kind


@dataclass(frozen=True)
class Protocol:
    """Who computes what.

    Attributes:
        stem: how the condition enters, a key of ``victims.diffusion.parts.controlnet.STEMS``.
        returns_gradient: the client trains its stem with a gradient from the server.
        keeps_loss: the loss is the server's; otherwise the client's, so the noise target stays
            home.
    """

    stem: str
    returns_gradient: bool
    keeps_loss: bool

    def channels(self, *, pooled: bool = False) -> frozenset[Channel]:
        """What crosses the wire.

        Args:
            pooled: the model takes pooled prompts, as Stable Diffusion XL does.
        """
        sent = {CONTROL_FEATURES, UNET_FEATURES, TIMESTEP, PROMPT_EMBEDDING}
        sent |= {POOLED_PROMPT} if pooled else set()
        sent |= {NOISE_TARGET} if self.keeps_loss else {PREDICTION_DOWN, LOSS_GRADIENT}
        return frozenset(
            sent | ({GRADIENT_DOWN, CLIENT_WEIGHTS} if self.returns_gradient else set())
        )


PROTOCOLS: Mapping[str, Protocol] = {
    "no-gradient": Protocol(stem="latent", returns_gradient=False, keeps_loss=True),
    "gradient": Protocol(stem="hint", returns_gradient=True, keeps_loss=True),
    "u-shaped": Protocol(stem="hint", returns_gradient=True, keeps_loss=False),
}


class SplitControlNet(DiffusionVictim):
    """One client with private records, one server with the ControlNet."""

    name = "split-controlnet"
    protocols = tuple(PROTOCOLS)
    hijackable = frozenset(name for name, kind in PROTOCOLS.items() if kind.returns_gradient)
    card = Card(
        summary="ControlNet training split between a client with private records and a server.",
        source="arXiv:2409.08503 (WACV 2025); wire as in its public code: TL-System/plato, controlnet_split_learning",
        needs="a Stable Diffusion 1.x, 2.x or XL in diffusers layout, or the embedded pocket model",
        cost="bytes: h_sd dominates; seconds: the server's forward and backward pass",
        notes="A defence that withholds the noise target makes any protocol keep the loss on the client. "
        "no-gradient: the client holds frozen public parts only. gradient: hint block and conv_in copy train on "
        "the client. u-shaped: as gradient, with the loss on the client. The client's final weights are sent where "
        "the client trains; where it does not, they are public anyway.",
    )

    def stem_name(self, protocol: str) -> str:
        return PROTOCOLS[protocol].stem

    def channels(self, protocol: str) -> frozenset[Channel]:
        self.check_protocol(protocol)
        return PROTOCOLS[protocol].channels(pooled=model_kind(locate(self.params.model)) == SDXL)

    def notes(self) -> Mapping[str, str]:
        size = native_size(locate(self.params.model))
        found = dict(super().notes())
        for protocol in self.protocols:
            client, server = self.halves(Defense(), protocol, "meta")
            who, wire = Division.of(client, server), Wire.of(client, server, size)
            found[f"sides of {protocol}"] = (
                f"client holds {who.client_frozen:,} parameters frozen and trains {who.client_trained:,}; "
                f"server holds {who.server_frozen:,} frozen and trains {who.server_trained:,}"
            )
            found[f"bytes of {protocol}"] = (
                f"{payload(wire.up.values(), torch.float32):,} up and {payload(wire.down.values(), torch.float32):,} "
                f"down a record and step at {size}x{size}, sent in float32; a wire in bfloat16 would take "
                f"{payload(wire.up.values(), torch.bfloat16):,} and {payload(wire.down.values(), torch.bfloat16):,}"
            )
        return found

    def halves(self, defense: Defense, protocol: str, device: str) -> tuple[ClientHalf, ServerHalf]:
        """Both halves before the first step, as ``train`` makes them."""
        model = self.load(device)
        client = self.client_half(model, new_controlnet(model, PUBLIC_SEED), defense, protocol)
        plan = TrainingPlan(
            epochs=1, batch_size=1, learning_rate=1.0, seed=0, device=device, dtype="fp32"
        )
        return client, self.server_half(defense, protocol, plan)

    def server_half(self, defense: Defense, protocol: str, plan: TrainingPlan) -> ServerHalf:
        """A server as everybody can build it before the first step: public weights only."""
        model = self.load(plan.device)
        kind = PROTOCOLS[protocol]
        controlnet = new_controlnet(model, PUBLIC_SEED)
        client = self.client_half(model, controlnet, defense, protocol)
        return ServerHalf(
            server_unet(model, whole=defense.sends_latent),
            client.stem.server_part(controlnet),
            defense.server_adapter(client.empty_prompt),
            factor=model.factor,
            returns_gradient=kind.returns_gradient,
            keeps_loss=kind.keeps_loss and NOISE_TARGET not in defense.withheld,
            learning_rate=plan.learning_rate,
            device=plan.device,
            autocast=torch.bfloat16 if plan.dtype == "bf16" else None,
        )

    def train(
        self,
        records: Records,
        defense: Defense,
        plan: TrainingPlan,
        *,
        protocol: str,
        out: Path,
        progress: Progress,
    ) -> Capture:
        model = self.prepare(records, defense, plan, protocol, dtypes=("fp32", "bf16"))
        secret = client_secret(plan.seed)
        client = self.client_half(
            model, new_controlnet(model, PUBLIC_SEED), defense, protocol, secret
        )
        server = self.server_half(defense, protocol, plan)
        run = _Run(
            client,
            server,
            TranscriptWriter(out / TRANSCRIPT_DIR, victim=self.name, protocol=protocol),
            plan,
        )
        batches = [
            (e, b)
            for e in range(plan.epochs)
            for b in epoch_batches(len(records), plan.batch_size, e, plan.seed)
        ]
        with progress.stage("training the victim", len(batches)) as advance:
            for step, (epoch, index) in enumerate(batches):
                run.step(records, index, step, epoch)
                advance(1)
        run.send_weights(len(batches), plan.epochs - 1)
        measured = Measured(
            releases=sum(len(index) for _, index in batches),
            losses=run.losses,
            client_seconds=run.client_clock.seconds,
            server_seconds=run.server_clock.seconds,
            device=plan.device,
        )
        parts = TrainedParts(
            client.stem.join(server.controlnet), server.adapter, secret, defense.trained_state()
        )
        return self.seal(out, records, run.writer, run.secrets, parts, measured)

    def retrain_server(
        self, transcript: Transcript, defense: Defense, plan: TrainingPlan, protocol: str
    ) -> ServerHalf:
        """Train a server half from the transcript alone; what comes down must be what was recorded.

        Raises:
            DataError: the server's answers differ from the recorded ones, or a message is missing.
        """
        server = self.server_half(defense, protocol, plan)
        waiting: dict[str, Tensor] | None = None
        for message in transcript.messages:
            if message.rows == 0:
                continue
            tensors = transcript.read(message)
            if message.direction == "up":
                _expect_nothing(waiting, message)
                waiting = server.receive(tensors)
                continue
            if waiting is None or waiting.keys() != tensors.keys():
                raise DataError(f"step {message.step}: the server does not answer as recorded")
            for name, tensor in tensors.items():
                if not torch.allclose(waiting[name].cpu(), tensor, rtol=1e-4, atol=1e-6):
                    raise DataError(f"step {message.step}: {name} differs from what was recorded")
            waiting = None
        return server


def _expect_nothing(waiting: dict[str, Tensor] | None, message: Message) -> None:
    if waiting is not None:
        raise DataError(
            f"step {message.step}: the server's answer {', '.join(waiting)} was not recorded"
        )


class _Run:
    """One training run: both halves, the wire between them, clocks, and the truth that stays home."""

    def __init__(
        self, client: ClientHalf, server: ServerHalf, writer: TranscriptWriter, plan: TrainingPlan
    ) -> None:
        self.client, self.server, self.writer, self.plan = client, server, writer, plan
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
        """One batch through the protocol."""
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
        """The client's trained weights, after the last step (METHODS 1.1.5, step 5)."""
        if self._optimizer is not None:
            weights = with_channel_prefix(CLIENT_WEIGHTS, self.client.stem.state_dict().items())
            self.writer.send(
                weights,
                step=step,
                epoch=epoch,
                direction="up",
                sender="client",
                receiver="server",
                rows=0,
            )

    def _exchange(
        self, tensors: Mapping[Channel, Tensor], step: int, epoch: int, rows: int
    ) -> dict[str, Tensor] | None:
        received = self.writer.send(
            tensors,
            step=step,
            epoch=epoch,
            direction="up",
            sender="client",
            receiver="server",
            rows=rows,
        )
        with self.server_clock.running():
            answer = self.server.receive(received)
        if answer is None:
            return None
        if self.plan.adversary is not None:
            with self.server_clock.running():
                answer = dict(
                    self.plan.adversary.answer({Channel(c): t for c, t in received.items()}, answer)
                )
        return self.writer.send(
            answer,
            step=step,
            epoch=epoch,
            direction="down",
            sender="server",
            receiver="client",
            rows=rows,
        )

    def _loss_gradient(self, prediction: Tensor, target: Tensor) -> Tensor:
        """dL/deps_hat of the mean squared error, and the loss itself for the curve."""
        output = prediction.to(target.device).requires_grad_(True)
        loss = torch.nn.functional.mse_loss(output, target.detach().float())
        self.losses.append(float(loss.detach()))
        return torch.autograd.grad(loss, output)[0]

    def _client_step(
        self,
        optimizer: torch.optim.Optimizer,
        batch: Any,
        released: Mapping[Channel, Tensor],
        gradient: Tensor,
    ) -> None:
        optimizer.zero_grad(set_to_none=True)
        sent = released[CONTROL_FEATURES]
        private = {"condition": batch.condition, "image_latents": batch.image_latents}
        extra = self.client.defense.client_loss(private, released)
        sent.backward(gradient.to(sent), retain_graph=extra is not None)
        if extra is not None:
            extra.backward()
        optimizer.step()
        self.client.defense.train_step()
