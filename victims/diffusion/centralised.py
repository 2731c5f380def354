"""ControlNet training in one place: the reference for utility, without any wire."""

from __future__ import annotations

from pathlib import Path

import torch

from bench.interfaces import (
    Capture,
    Card,
    Channel,
    Defense,
    Progress,
    Records,
    SecretsWriter,
    ServerAdapter,
    TrainingPlan,
    TranscriptWriter,
)
from bench.wire.capture import MODEL_DIR, TRANSCRIPT_DIR
from victims.common.batches import training_batches
from victims.common.capture_files import TrainingMeasurements, seal_capture
from victims.common.checks import check_protocol
from victims.common.measure import Clock
from victims.diffusion.parts.base import PUBLIC_SEED, DiffusionVictim, TrainedParts
from victims.diffusion.parts.client import ClientRandomness
from victims.diffusion.parts.controlnet import new_controlnet
from victims.diffusion.parts.local_training import backward
from victims.diffusion.parts.undivided_step import draw


class Centralised(DiffusionVictim):
    """Trains the uncut diffusers ControlNet and UNet on the machine of the data's owner."""

    name = "centralised"
    protocols = ("none",)
    card = Card(
        summary="Trains an undivided ControlNet on the owner's machine; nothing crosses a wire.",
        source="Zhang et al., arXiv:2302.05543; step as in diffusers' ControlNet training",
        needs="a model that split-controlnet takes",
        cost="one forward and backward pass for each step",
        notes="The reference for utility. A defence can change its timesteps, noise and local "
        "gradients; there is no wire to protect.",
    )

    def stem_name(self, protocol: str) -> str:
        return "hint"

    def channels(self, protocol: str) -> frozenset[Channel]:
        check_protocol(self, protocol)
        return frozenset()

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
        model = self.prepare(records, defense, plan, protocol, dtypes=("fp32",))
        controlnet = new_controlnet(model, PUBLIC_SEED).train()
        client = self.client_half(model, controlnet, defense, protocol)
        optimizer = torch.optim.AdamW(controlnet.parameters(), lr=plan.learning_rate)
        rng = ClientRandomness.seeded(plan.seed)
        batches = training_batches(len(records), plan)
        losses: list[float] = []
        clock = Clock(plan.device)
        with progress.stage("training the victim", len(batches)) as advance, clock.running():
            for _, index in batches:
                losses.append(
                    backward(client, controlnet, draw(client, records, index, rng), rng.protection)
                )
                optimizer.step()
                advance(1)
        writer = TranscriptWriter(out / TRANSCRIPT_DIR, victim=self.name, protocol=protocol)
        measurements = TrainingMeasurements(
            plan.epochs * len(records), losses, clock.seconds, 0.0, plan.device
        )
        self.save(out / MODEL_DIR, TrainedParts(controlnet, ServerAdapter()), protocol)
        return seal_capture(out, records, writer, SecretsWriter(), measurements)
