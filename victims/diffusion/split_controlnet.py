"""Split training of a ControlNet between a client and a server (arXiv:2409.08503)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
    TrainingPlan,
    Transcript,
    TranscriptWriter,
)
from bench.wire.capture import MODEL_DIR, TRANSCRIPT_DIR
from bench.wire.transcript import Message
from victims.common.batches import training_batches
from victims.common.capture_files import TrainingMeasurements, seal_capture
from victims.common.checks import check_protocol
from victims.diffusion.parts.base import PUBLIC_SEED, DiffusionVictim, TrainedParts
from victims.diffusion.parts.client import ClientHalf, client_secret
from victims.diffusion.parts.controlnet import new_controlnet, server_unet
from victims.diffusion.parts.server import ServerHalf
from victims.diffusion.parts.size_report import ParameterCounts, WireTensors, payload
from victims.diffusion.parts.split_training import SplitTraining
from victims.stable_diffusion.files import locate, native_size
from victims.stable_diffusion.model_kind import SDXL, model_kind


@dataclass(frozen=True)
class Protocol:
    """Sets what client and server compute.

    Attributes:
        stem: how the condition enters, a key of ``victims.diffusion.parts.controlnet.STEMS``.
        returns_gradient: whether the client trains its stem with a gradient from the server.
        keeps_loss: whether the server computes the loss. Otherwise the client computes it, and the
            noise target stays on the client.
    """

    stem: str
    returns_gradient: bool
    keeps_loss: bool

    def channels(self, *, pooled: bool = False) -> frozenset[Channel]:
        """Return the channels that cross the wire.

        Args:
            pooled: whether the model takes pooled prompts, as Stable Diffusion XL does.
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
    """Trains a ControlNet between one client with private records and one server."""

    name = "split-controlnet"
    protocols = tuple(PROTOCOLS)
    hijackable = frozenset(name for name, kind in PROTOCOLS.items() if kind.returns_gradient)
    card = Card(
        summary="Splits ControlNet training between a client with private records and a server.",
        source="arXiv:2409.08503 (WACV 2025); wire as in its public code: TL-System/plato, "
        "controlnet_split_learning",
        needs="a Stable Diffusion 1.x, 2.x or XL in diffusers layout, or the embedded pocket model",
        cost="bytes: h_sd dominates; seconds: the server's forward and backward pass",
        notes="A defence that withholds the noise target keeps the loss on the client in every "
        "protocol. no-gradient: the client holds frozen public parts only. gradient: the hint "
        "block and the copy of conv_in train on the client. u-shaped: like gradient, with the loss "
        "on the client. A client that trains sends its final weights; the weights of a client that "
        "does not train are public.",
    )

    def stem_name(self, protocol: str) -> str:
        return PROTOCOLS[protocol].stem

    def channels(self, protocol: str) -> frozenset[Channel]:
        check_protocol(self, protocol)
        return PROTOCOLS[protocol].channels(pooled=model_kind(locate(self.params.model)) == SDXL)

    def notes(self) -> Mapping[str, str]:
        size = native_size(locate(self.params.model))
        notes = dict(super().notes())
        for protocol in self.protocols:
            client, server = self.halves(Defense(), protocol, "meta")
            counts = ParameterCounts.from_halves(client, server)
            wire = WireTensors.from_halves(client, server, size)
            full, half = (
                [f"{payload(side.values(), dtype):,}" for side in (wire.up, wire.down)]
                for dtype in (torch.float32, torch.bfloat16)
            )
            notes[f"sides of {protocol}"] = (
                f"client holds {counts.client_frozen:,} parameters frozen and trains "
                f"{counts.client_trained:,}; server holds {counts.server_frozen:,} frozen and "
                f"trains {counts.server_trained:,}"
            )
            notes[f"bytes of {protocol}"] = (
                f"{full[0]} up and {full[1]} down a record and step at {size}x{size}, sent in "
                f"float32; a wire in bfloat16 would take {half[0]} and {half[1]}"
            )
        return notes

    def halves(self, defense: Defense, protocol: str, device: str) -> tuple[ClientHalf, ServerHalf]:
        """Return both halves before the first step, as ``train`` builds them."""
        model = self.load(device)
        client = self.client_half(model, new_controlnet(model, PUBLIC_SEED), defense, protocol)
        plan = TrainingPlan(
            epochs=1, batch_size=1, learning_rate=1.0, seed=0, device=device, dtype="fp32"
        )
        return client, self.server_half(defense, protocol, plan)

    def server_half(self, defense: Defense, protocol: str, plan: TrainingPlan) -> ServerHalf:
        """Return the server half before the first step, which has public weights only."""
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
        writer = TranscriptWriter(out / TRANSCRIPT_DIR, victim=self.name, protocol=protocol)
        training = SplitTraining(client, server, writer, plan)
        batches = training_batches(len(records), plan)
        with progress.stage("training the victim", len(batches)) as advance:
            for step, (epoch, index) in enumerate(batches):
                training.step(records, index, step, epoch)
                advance(1)
        training.send_weights(len(batches), plan.epochs - 1)
        measurements = TrainingMeasurements(
            releases=sum(len(index) for _, index in batches),
            losses=training.losses,
            client_seconds=training.client_clock.seconds,
            server_seconds=training.server_clock.seconds,
            device=plan.device,
        )
        parts = TrainedParts(
            client.stem.join(server.controlnet), server.adapter, secret, defense.trained_state()
        )
        self.save(out / MODEL_DIR, parts, protocol)
        return seal_capture(out, records, writer, training.secrets, measurements)

    def retrain_server(
        self, transcript: Transcript, defense: Defense, plan: TrainingPlan, protocol: str
    ) -> ServerHalf:
        """Train a server half from the transcript alone, and return it.

        Its answers must equal the recorded ones.

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
                raise DataError(
                    f"step {message.step}: the server's answer has other tensors than the recorded "
                    "one; the transcript was not made with these settings"
                )
            for name, tensor in tensors.items():
                if not torch.allclose(waiting[name].cpu(), tensor, rtol=1e-4, atol=1e-6):
                    raise DataError(
                        f"step {message.step}: the server's {name} differs from the recorded one; "
                        "the transcript was not made with these settings"
                    )
            waiting = None
        return server


def _expect_nothing(waiting: dict[str, Tensor] | None, message: Message) -> None:
    if waiting is not None:
        raise DataError(
            f"step {message.step}: the server's answer {', '.join(waiting)} was not recorded"
        )
