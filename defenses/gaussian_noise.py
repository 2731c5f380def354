"""Add Gaussian noise to clipped smashed data: the Gaussian mechanism."""

from __future__ import annotations

import math

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.interfaces import (
    CLIENT_UPDATE,
    CLIENT_WEIGHTS,
    LOSS_GRADIENT,
    NOISE_TARGET,
    Card,
    Channel,
    Defense,
    Guarantee,
    NoiseSchedule,
    ProtectContext,
)
from defenses.common.feature_params import SmashedParams, clipped, numbers
from defenses.common.gaussian_accounting import epsilon_of, gaussian_mu


class GaussianNoiseParams(SmashedParams):
    """Sets the noise by either ``multiplier`` or ``epsilon``, not by both.

    Attributes:
        clip: largest root mean square of a tensor; each tensor of a record, of n numbers, is
            shortened to the norm C = clip sqrt(n).
        multiplier: standard deviation of the noise divided by C; 0.01 unless epsilon is given.
        epsilon: epsilon of one release of one tensor, from which the multiplier follows.
        delta: delta of the (epsilon, delta) statements.
    """

    clip: float = Field(default=1.0, gt=0)
    multiplier: float | None = Field(default=None, gt=0)
    epsilon: float | None = Field(default=None, gt=0)
    delta: float = Field(default=1e-5, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_way(self) -> GaussianNoiseParams:
        if self.multiplier is not None and self.epsilon is not None:
            raise ValueError("choose the noise by multiplier or by epsilon, not by both")
        return self


DEFAULT_MULTIPLIER = 0.01


class GaussianNoise(Defense):
    """Sends h min(1, C / ||h||) + N(0, (multiplier C)^2 I) for each tensor of a record.

    Replacing a record's picture and condition moves each tensor by at most 2C, whatever t and eps
    are. One tensor of one release is therefore mu-GDP with mu = 2 / multiplier (Dong et al.,
    arXiv:1905.02383); for several, mu grows with the square root of their number. The noise target
    does not void the statement where the network predicts eps, which does not depend on the record;
    a target v voids it.
    """

    name = "gaussian-noise"
    Params = GaussianNoiseParams
    params: GaussianNoiseParams
    card = Card(
        summary="Clips each record's smashed data to a norm and adds Gaussian noise to it.",
        source="Dwork & Roth 2014, section A; Gaussian DP, arXiv:1905.02383",
        cost="none in bytes; noise of norm multiplier x n a tensor against a signal of norm "
        "sqrt(n)",
        notes="Unit: picture and condition of one record, not its prompt. Tensors are clipped on "
        "the client, before the noise is added. An epsilon below 10 buries the feature maps of any "
        "useful model in noise. Adaptive attack: least squares through conv_in, which averages "
        "noise on h_sd away (8-fold in Stable Diffusion); decoders trained on noisy features; "
        "averaging over epochs.",
    )

    @property
    def multiplier(self) -> float:
        """Return the standard deviation of the noise divided by the clipping norm."""
        p = self.params
        if p.epsilon is not None:
            return 2 / gaussian_mu(p.epsilon, p.delta)
        return DEFAULT_MULTIPLIER if p.multiplier is None else float(p.multiplier)

    def added_noise(self, channel: Channel, size: int) -> float:
        return (
            self.multiplier * self.params.clip * math.sqrt(size)
            if channel in self.params.channels
            else 0.0
        )

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel in self.params.channels else tensor

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel not in self.params.channels:
            return tensor
        size = numbers(tensor)
        noise = torch.randn(tensor.shape, generator=context.rng).to(tensor)
        return (
            clipped(tensor, self.params.clip * math.sqrt(size))
            + self.added_noise(channel, size) * noise
        )

    def guarantee(self, releases: int, schedule: NoiseSchedule) -> Guarantee | None:
        p = self.params
        mu = 2 / self.multiplier * math.sqrt(releases * len(p.channels))
        data_in_target = schedule.prediction != "epsilon"
        return Guarantee(
            epsilon=epsilon_of(mu, p.delta),
            delta=p.delta,
            unit="picture and condition of one record, replaced by any other",
            sensitivity=f"l2 distance 2C with C = {p.clip:g} sqrt(n) for each of {len(p.channels)} "
            "clipped tensors",
            releases=releases,
            voided_by=(
                *p.spared,
                CLIENT_WEIGHTS,
                CLIENT_UPDATE,
                *((NOISE_TARGET, LOSS_GRADIENT) if data_in_target else ()),
            ),
        )
