"""The step of centralised and federated clients: ControlNet training without a cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.interfaces import Records
from victims.diffusion.parts.client import ClientHalf, ClientRandomness
from victims.diffusion.parts.controlnet import predict_undivided
from victims.diffusion.parts.encoded_records import Batch


@dataclass(frozen=True, eq=False)
class Draws:
    """Holds a batch and its randomness, from which a step's loss is computed.

    Attributes:
        batch: the records as latents and prompt states.
        timesteps: t, ``(B,)``.
        noise: eps, ``(B, 4, h, w)``.
    """

    batch: Batch
    timesteps: Tensor
    noise: Tensor

    def only(self, i: int) -> Draws:
        """Return the part of record ``i`` as a batch of one."""
        return Draws(self.batch.only(i), self.timesteps[i : i + 1], self.noise[i : i + 1])


def draw(
    client: ClientHalf,
    records: Records,
    index: Sequence[int],
    rng: ClientRandomness,
    shared: tuple[Tensor, Tensor] | None = None,
) -> Draws:
    """Return one batch with its randomness, drawn in the order of the split client.

    Args:
        client: supplies the encoders and the defence.
        records: all records.
        index: the records of the batch.
        rng: the client's randomness.
        shared: t and eps where the server draws them.
    """
    model = client.model
    batch = client.encode(records, index, rng)
    if shared is not None:
        return Draws(batch, shared[0].to(model.device), shared[1].to(model.device))
    t = client.defense.sample_timesteps(batch.record_ids, model.schedule, rng.timesteps).to(
        model.device
    )
    shape = tuple(batch.image_latents.shape)
    noise = client.defense.sample_noise(batch.record_ids, shape, rng.noise).to(model.device)
    return Draws(batch, t, noise)


def undivided_loss(client: ClientHalf, controlnet: Any, draws: Draws) -> Tensor:
    """Return the denoising loss of one batch.

    Args:
        client: supplies the frozen parts; its stem is not used.
        controlnet: the whole trainable network.
        draws: the batch with its randomness.
    """
    model, batch = client.model, draws.batch
    noisy = model.schedule.add_noise(batch.image_latents, draws.noise, draws.timesteps)
    output = predict_undivided(
        model, controlnet, noisy, draws.timesteps, batch.prompt_arguments(), batch.condition
    )
    target = model.schedule.target(batch.image_latents, draws.noise, draws.timesteps)
    return torch.nn.functional.mse_loss(output, target)
