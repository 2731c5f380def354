"""ControlNet training in one place: the reference for utility, and a wire with nothing on it."""

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
from bench.wire.capture import TRANSCRIPT_DIR
from victims.common.batches import epoch_batches
from victims.common.measure import Clock
from victims.diffusion.parts.base import PUBLIC_SEED, DiffusionVictim, Measured, TrainedParts
from victims.diffusion.parts.client import ClientRandomness
from victims.diffusion.parts.controlnet import new_controlnet
from victims.diffusion.parts.local_training import backward
from victims.diffusion.parts.undivided_step import draw


class Centralised(DiffusionVictim):
    """The uncut diffusers ControlNet and UNet on the owner's own machine."""

    name = "centralised"
    protocols = ("none",)
    card = Card(
        summary="Undivided ControlNet training by the data's owner; nothing crosses a wire.",
        source="Zhang et al., arXiv:2302.05543; step as in diffusers' ControlNet training",
        needs="the same models as split-controlnet",
        cost="one forward and backward pass a step",
        notes="The utility reference. A defence can change its timesteps, noise and local gradients; "
        "there is no wire to protect.",
    )

    def stem_name(self, protocol: str) -> str:
        return "hint"

    def channels(self, protocol: str) -> frozenset[Channel]:
        self.check_protocol(protocol)
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
        batches = [
            b
            for e in range(plan.epochs)
            for b in epoch_batches(len(records), plan.batch_size, e, plan.seed)
        ]
        losses: list[float] = []
        clock = Clock(plan.device)
        with progress.stage("training the victim", len(batches)) as advance, clock.running():
            for index in batches:
                losses.append(
                    backward(client, controlnet, draw(client, records, index, rng), rng.protection)
                )
                optimizer.step()
                advance(1)
        writer = TranscriptWriter(out / TRANSCRIPT_DIR, victim=self.name, protocol=protocol)
        measured = Measured(plan.epochs * len(records), losses, clock.seconds, 0.0, plan.device)
        return self.seal(
            out,
            records,
            writer,
            SecretsWriter(),
            TrainedParts(controlnet, ServerAdapter()),
            measured,
        )
