"""A victim without diffusion: the client sends features and a label, the server learns one from the
other.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.interfaces import (
    COSTS_FILE,
    MODEL_DIR,
    SECRETS_DIR,
    TRANSCRIPT_DIR,
    Capture,
    Card,
    Channel,
    Codec,
    Costs,
    Defense,
    Emission,
    ImageBatch,
    NoiseSchedule,
    Progress,
    ProtectContext,
    Public,
    PublicClient,
    Records,
    Release,
    SecretsWriter,
    Simulator,
    TrainingPlan,
    TranscriptWriter,
    UtilityPlan,
    Victim,
    generator,
)

FEATURES, LABEL = Channel("toy_features"), Channel("toy_label")
FACTOR, WIDTH = 4, 12


def public_convolution() -> Tensor:
    """The client's frozen weights, which everybody knows: ``(WIDTH, 3, FACTOR, FACTOR)``."""
    return torch.randn(WIDTH, 3, FACTOR, FACTOR, generator=generator(0, "toy-split")) / FACTOR


class Pooling(Codec):
    """Latents are means over squares: red, green, blue and grey."""

    def encode(self, images: ImageBatch) -> Tensor:
        small = nn.functional.avg_pool2d(images.signed(), FACTOR)
        return torch.cat([small, small.mean(1, keepdim=True)], 1)

    def decode(self, latents: Tensor) -> ImageBatch:
        return ImageBatch.from_signed(
            nn.functional.interpolate(latents[:, :3].float(), scale_factor=FACTOR)
        )


def release(
    records: Records, index: Sequence[int], defense: Defense, phase: str, rng: torch.Generator
) -> dict[Channel, Tensor]:
    """What leaves the client: features of the pictures, and the condition's brightness as the
    label.
    """
    chosen = records.select(list(index))
    schedule = NoiseSchedule.stable_diffusion()
    ids, times = chosen.ids, torch.zeros(len(chosen), dtype=torch.long)
    context = ProtectContext(phase, times, schedule, torch.zeros(1, 1, 1), ids, rng)
    sent = {
        FEATURES: nn.functional.conv2d(
            chosen.image_batch().signed(), public_convolution(), stride=FACTOR
        ),
        LABEL: chosen.condition_batch().pixels.mean((1, 2, 3)),
    }
    return {
        c: defense.protect(c, tensor, context)
        for c, tensor in sent.items()
        if c not in defense.withheld
    }


class ToyClient(PublicClient, Simulator):
    """The client's frozen half, run on the attacker's own records."""

    def __init__(self, defense: Defense, records: Records | None = None) -> None:
        self._defense, self._records = defense, records

    def with_weights(self, parts: Mapping[str, Tensor]) -> ToyClient:
        return self

    def simulator(self, records: Records) -> ToyClient:
        return ToyClient(self._defense, records)

    def emit(self, index: Sequence[int], rng: torch.Generator) -> Emission:
        assert self._records is not None
        chosen, codec = self._records.select(list(index)), Pooling()
        sent = release(self._records, index, self._defense, "training", rng)
        return Emission(
            sent, codec.encode(chosen.image_batch()), codec.encode(chosen.condition_batch())
        )


class ToySplit(Victim):
    """A frozen convolution on the client, a linear head on the server."""

    name = "toy-split"
    protocols = ("toy",)
    card = Card(
        summary="Split regression of the condition's brightness; no diffusion model.",
        source="this project, tests/plugin/example",
    )

    def channels(self, protocol: str) -> frozenset[Channel]:
        return frozenset({FEATURES, LABEL})

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
        defense.check(NoiseSchedule.stable_diffusion(), self.channels(protocol))
        writer = TranscriptWriter(out / TRANSCRIPT_DIR, victim=self.name, protocol=protocol)
        secrets, codec, head = SecretsWriter(), Pooling(), nn.Linear(WIDTH, 1)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        optimizer = torch.optim.AdamW(head.parameters(), lr=plan.learning_rate)
        rng, start = generator(plan.seed, "toy client"), time.perf_counter()
        losses: list[float] = []
        for epoch in range(plan.epochs):
            order = torch.randperm(len(records), generator=rng).tolist()
            for index in (
                order[i : i + plan.batch_size] for i in range(0, len(order), plan.batch_size)
            ):
                sent = release(records, index, defense, "training", rng)
                step = len(losses)
                wire = writer.send(
                    {str(c): t for c, t in sent.items()},
                    step=step,
                    epoch=epoch,
                    direction="up",
                    sender="client",
                    receiver="server",
                    rows=len(index),
                )
                chosen = records.select(index)
                latents = [
                    codec.encode(batch)
                    for batch in (chosen.image_batch(), chosen.condition_batch())
                ]
                secrets.add(
                    [Release(epoch, step, row) for row in range(len(index))], index, *latents
                )
                loss = nn.functional.mse_loss(
                    head(wire[FEATURES].mean((2, 3))).squeeze(1), wire[LABEL]
                )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(float(loss.detach()))
        secrets.close(out / SECRETS_DIR, records)
        transcript = writer.close()
        (out / MODEL_DIR).mkdir()
        save_file(head.state_dict(), out / MODEL_DIR / "head.safetensors")
        costs = Costs(
            bytes_up=transcript.bytes("up") / (plan.epochs * len(records)),
            bytes_down=0.0,
            bytes_once=0,
            client_seconds=0.0,
            server_seconds=time.perf_counter() - start,
            peak_memory_mib=0.0,
            steps=len(losses),
            losses=tuple(losses),
        )
        (out / COSTS_FILE).write_text(costs.model_dump_json())
        return Capture.open(out)

    def public(
        self, defense: Defense | None, auxiliary: Records, *, protocol: str, device: str
    ) -> Public:
        return Public(
            client=ToyClient(defense or Defense()),
            codec=Pooling(),
            schedule=NoiseSchedule.stable_diffusion(),
            stem=None,
            defense=defense,
            protocol=protocol,
            auxiliary=auxiliary,
            device=device,
        )

    def utility(
        self,
        capture: Capture,
        held_out: Records,
        defense: Defense,
        plan: UtilityPlan,
        *,
        protocol: str,
    ) -> Mapping[str, float]:
        head = load_file(capture.model_dir / "head.safetensors")
        sent = release(
            held_out,
            range(len(held_out)),
            defense,
            "inference",
            generator(plan.seed, "toy utility"),
        )
        guess = nn.functional.linear(
            sent[FEATURES].mean((2, 3)), head["weight"], head["bias"]
        ).squeeze(1)
        return {"toy_error": float((guess - sent[LABEL]).abs().mean())}

    def fingerprint(self) -> str:
        return hashlib.sha256(public_convolution().numpy().tobytes()).hexdigest()
