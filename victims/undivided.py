"""The reference step: ControlNet training without a cut, as centralised and federated clients do it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from bench.records import Records
from victims.client import ClientHalf, ClientRandomness
from victims.control import predict_undivided


def undivided_loss(
    client: ClientHalf, controlnet: Any, records: Records, index: Sequence[int], rng: ClientRandomness
) -> torch.Tensor:
    """The denoising loss of one batch, draws in the same order as the split client makes them.

    Args:
        client: supplies frozen parts, defence and encoding; its stem is not used.
        controlnet: the whole trainable network.
    """
    model, schedule = client.model, client.model.schedule
    batch = client.encode(records, index, rng)
    t = client.defense.sample_timesteps(batch.record_ids, schedule, rng.timesteps).to(model.device)
    shape = tuple(batch.image_latents.shape)
    noise = client.defense.sample_noise(batch.record_ids, shape, rng.noise).to(model.device)
    noisy = schedule.add_noise(batch.image_latents, noise, t)
    output = predict_undivided(model, controlnet, noisy, t, batch.text, batch.condition)
    return torch.nn.functional.mse_loss(output, schedule.target(batch.image_latents, noise, t))
