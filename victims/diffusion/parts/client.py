"""The client half: everything private, up to the tensors that leave the client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.interfaces import (
    CONTROL_FEATURES,
    NOISE_TARGET,
    POOLED_PROMPT,
    PROMPT_EMBEDDING,
    TIMESTEP,
    UNET_FEATURES,
    Channel,
    Defense,
    ProtectContext,
    Records,
    generator,
)
from bench.util.rng import derived_seed
from victims.diffusion.parts.controlnet import HintStem, LatentStem
from victims.diffusion.parts.encoded_records import Batch, EncodedRecords
from victims.stable_diffusion.model import StableDiffusion


@dataclass(frozen=True, eq=False)
class ClientRandomness:
    """Holds one random stream for each purpose.

    A defence that draws more numbers from one stream does not shift the others.
    """

    timesteps: torch.Generator
    noise: torch.Generator
    latents: torch.Generator
    protection: torch.Generator

    @classmethod
    def seeded(cls, seed: int) -> ClientRandomness:
        """Return four independent streams of a seed."""
        return cls(
            *(
                generator(seed, "client", word)
                for word in ("timesteps", "noise", "latents", "protection")
            )
        )

    @classmethod
    def single(cls, rng: torch.Generator) -> ClientRandomness:
        """Return one stream for all purposes, for an attacker's simulation."""
        return cls(rng, rng, rng, rng)


def client_secret(seed: int) -> int:
    """Return the secret of the client in a training with ``seed``, 256 bits."""
    return derived_seed(seed, "client", "secret")


class ClientHalf(nn.Module):
    """Turns private records into the tensors that leave the client.

    It holds the frozen public parts and a stem, which trains only in protocols that send gradients
    back.

    Args:
        model: the frozen public model.
        stem: the part of the ControlNet that the client holds.
        defense: the defence on the client.
        secret: the client's secret; 0 in an attacker's simulation, which does not know it.
    """

    def __init__(
        self, model: StableDiffusion, stem: HintStem | LatentStem, defense: Defense, secret: int = 0
    ) -> None:
        super().__init__()
        self.stem = stem
        self._model = (model,)  # a tuple keeps the frozen parts out of this module's parameters
        self.defense = defense
        self.secret = secret
        self._empty = model.prompt_code([""])
        self._encoded: EncodedRecords | None = None

    @property
    def model(self) -> StableDiffusion:
        """Return the frozen public model."""
        return self._model[0]

    @property
    def empty_prompt(self) -> Tensor:
        """Return the states of the empty prompt, ``(1, L, D)``."""
        return self._empty.states

    @property
    def empty_pooled(self) -> Tensor | None:
        """Return the pooled embedding of the empty prompt, ``(1, P)``, or None without one."""
        return self._empty.pooled

    def encode(self, records: Records, index: Sequence[int], rng: ClientRandomness) -> Batch:
        """Return private records as latents and states; each record is encoded once."""
        if self._encoded is None or self._encoded.records is not records:
            self._encoded = EncodedRecords(self.model, records)
        return self._encoded.batch(index, rng.latents)

    def release(self, batch: Batch, rng: ClientRandomness) -> dict[Channel, Tensor]:
        """Return all channels of the published wire that the defence does not withhold."""
        withheld = self.defense.withheld
        return {
            channel: tensor
            for channel, tensor in self.compute(batch, rng).items()
            if channel not in withheld
        }

    def compute(self, batch: Batch, rng: ClientRandomness) -> dict[Channel, Tensor]:
        """Return every channel of the published wire, protected and attached to the stem's graph.

        Withheld channels are included: a client that keeps the loss needs ``noise_target``, which
        the network must predict.
        """
        batch = self._prepared(batch, rng.protection)
        schedule, device = self.model.schedule, self.model.device
        t = self.defense.sample_timesteps(batch.record_ids, schedule, rng.timesteps).to(device)
        shape = tuple(batch.image_latents.shape)
        noise = self.defense.sample_noise(batch.record_ids, shape, rng.noise).to(device)
        noisy = schedule.add_noise(batch.image_latents, noise, t)
        context = self.context("training", t, batch.record_ids, rng.protection)
        sent = {
            CONTROL_FEATURES: self.stem(
                self.defense.control_input(noisy, context), batch.condition, batch.condition_latents
            ),
            UNET_FEATURES: noisy if self.defense.sends_latent else self.model.unet.conv_in(noisy),
            TIMESTEP: t,
            NOISE_TARGET: schedule.target(batch.image_latents, noise, t),
            PROMPT_EMBEDDING: batch.text,
        }
        if batch.pooled_text is not None:
            sent[POOLED_PROMPT] = batch.pooled_text
        return {
            channel: self.defense.protect(channel, tensor, context)
            for channel, tensor in sent.items()
        }

    def _prepared(self, batch: Batch, rng: torch.Generator) -> Batch:
        private = {
            "image_latents": batch.image_latents,
            "condition_latents": batch.condition_latents,
            "condition": batch.condition,
            "text": batch.text,
        }
        if batch.pooled_text is not None:
            private["pooled_text"] = batch.pooled_text
        changes: dict[str, Any] = dict(self.defense.prepare(private, rng))
        return replace(batch, **changes)

    def context(
        self, phase: str, t: Tensor, record_ids: Sequence[str], rng: torch.Generator
    ) -> ProtectContext:
        """Return the context that the defence gets."""
        return ProtectContext(
            phase,
            t,
            self.model.schedule,
            self.empty_prompt,
            record_ids,
            rng,
            secret=self.secret,
            empty_pooled=self.empty_pooled,
        )
