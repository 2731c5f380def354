"""Noisy targets: the label of the denoising loss is sent with noise on it."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import (
    NOISE_TARGET,
    Card,
    Channel,
    Defense,
    Guarantee,
    NoiseSchedule,
    Params,
    ProtectContext,
)
from defenses.common.gaussian_accounting import with_noisy_target
from defenses.common.record_noise import per_record_noise


class NoisyTargetParams(Params):
    """Attributes:
    sigma: standard deviation of the noise on every number of the target, which has about unit
    variance itself. memoised: the same noise for a record at a timestep; for stacks with
    memoised-noise.
    """

    sigma: float = Field(default=1.0, gt=0)
    memoised: bool = False


class NoisyTarget(Defense):
    """eps' = eps + eta, eta ~ N(0, sigma^2 I): the loss has the same minimiser, E[eps' | x_t] =
    E[eps | x_t].

    With x_t = a z0 + b eps the server is left with SNR_t (1 + sigma^2) / sigma^2 of the latent,
    where the plain target leaves it infinite (METHODS 7.17). Memoised noise belongs to a record and
    a timestep, never to a record alone: two releases of one eta at different t are two equations
    x_t - b_t eps' = a_t z0 - b_t eta for two unknowns.
    """

    name = "noisy-target"
    Params = NoisyTargetParams
    card = Card(
        summary="Adds noise to the noise target, so that it no longer gives the latent away exactly.",
        source="this project; METHODS 7.17",
        needs="a client that has a noise target; where it keeps the loss, the returned gradient is noised by this",
        cost="none in bytes; the gradient's variance grows with 1 + sigma^2",
        notes="Beside a timestep policy it gives back a statement that the plain target voids. Adaptive attack: the "
        "posterior mean at SNR_t (1 + sigma^2) / sigma^2 with the diffusion prior, and averaging over epochs.",
    )

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel != NOISE_TARGET:
            return tensor
        if self.params.memoised:
            names = [
                f"{name} at {t}"
                for name, t in zip(context.record_ids, context.timesteps.tolist(), strict=True)
            ]
            noise = per_record_noise(context.secret, self.name, names, tuple(tensor.shape[1:]))
        else:
            noise = torch.randn(tensor.shape, generator=context.rng)
        return tensor + self.params.sigma * noise.to(tensor)

    def qualify(self, statement: Guarantee, schedule: NoiseSchedule) -> Guarantee:
        return with_noisy_target(
            statement, self.params.sigma, schedule, memoised=self.params.memoised
        )
