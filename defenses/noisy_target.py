"""Add noise to the target of the denoising loss before it is sent."""

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
    """Sets the noise on the target.

    Attributes:
        sigma: standard deviation of the noise on every number of the target, which has about unit
            variance itself.
        memoised: whether a record gets identical noise whenever it is released at one timestep; for
            stacks with memoised-noise.
    """

    sigma: float = Field(default=1.0, gt=0)
    memoised: bool = False


class NoisyTarget(Defense):
    """Sends eps' = eps + eta with eta ~ N(0, sigma^2 I) in place of eps.

    The minimiser of the loss does not change: E[eps' | x_t] = E[eps | x_t]. With
    x_t = a z0 + b eps, the server sees the latent at SNR_t (1 + sigma^2) / sigma^2; with the plain
    target that SNR is infinite. Memoised noise belongs to a record and a timestep,
    never to a record alone: two releases of one eta at different t are two equations
    x_t - b_t eps' = a_t z0 - b_t eta for two unknowns.
    """

    name = "noisy-target"
    Params = NoisyTargetParams
    params: NoisyTargetParams
    card = Card(
        summary="Adds noise to the noise target, so that it no longer determines the latent "
        "exactly.",
        source="this project",
        needs="a client that has a noise target; where the client keeps the loss, the noisy target "
        "enters the gradient that it returns",
        cost="none in bytes; the gradient's variance grows with 1 + sigma^2",
        notes="Stacked with a timestep policy it restores the statement that the plain target "
        "voids. Adaptive attack: the posterior mean at SNR_t (1 + sigma^2) / sigma^2 with the "
        "diffusion prior, and averaging over epochs.",
    )

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel == NOISE_TARGET else tensor

    def added_noise(self, channel: Channel, size: int) -> float:
        return float(self.params.sigma) if channel == NOISE_TARGET else 0.0

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
