"""Clip each update and add Gaussian noise to it, on the client."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import (
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    LOSS_GRADIENT,
    NOISE_TARGET,
    POOLED_PROMPT,
    PREDICTION_DOWN,
    PROMPT_EMBEDDING,
    UNET_FEATURES,
    Card,
    Defense,
    Guarantee,
    NoiseSchedule,
    Params,
    ProtectContext,
    UpdateProtection,
)
from defenses.common.gaussian_accounting import epsilon_of


class ClipNoiseParams(Params):
    """Sets the clipping norm, the noise, and the delta of the statement.

    Attributes:
        clip: C, the largest l2 norm of a whole update. An update is the change of the weights, so
            it includes the learning rate.
        multiplier: standard deviation of the noise divided by C; 0 only clips.
        delta: delta of the (epsilon, delta) statement.
    """

    clip: float = Field(default=0.1, gt=0)
    multiplier: float = Field(default=0.1, ge=0)
    delta: float = Field(default=1e-5, gt=0, lt=1)


class ClipNoise(Defense):
    """Shortens the update to norm C and adds normal noise of deviation ``multiplier`` C.

    The norm is taken over all tensors together. This is the Gaussian mechanism: replacing one
    record changes the one update that contains it by at most 2 C, so each release is mu-GDP with
    mu = 2 / multiplier (Dong et al., arXiv:1905.02383), and k releases are sqrt(k) mu-GDP. The
    server computes its answers from noised updates, so they cost no further privacy.
    """

    name = "clip-noise"
    Params = ClipNoiseParams
    params: ClipNoiseParams
    card = Card(
        summary="Clips each whole update to a norm and adds Gaussian noise before it leaves the "
        "client.",
        source="Abadi et al., arXiv:1607.00133, applied to whole updates; accounting: Gaussian DP, "
        "arXiv:1905.02383",
        cost="none in bytes or time",
        notes="Acts on client_update alone; its statement is void where features, noise targets or "
        "weights of the client cross the wire. Small multipliers hide detail without a useful "
        "epsilon.",
    )

    def update_protection(self) -> UpdateProtection | None:
        return UpdateProtection(clip=float(self.params.clip))

    def protect_update(
        self, update: Mapping[str, Tensor], context: ProtectContext
    ) -> dict[str, Tensor]:
        norm = math.sqrt(sum(float(tensor.double().square().sum()) for tensor in update.values()))
        scale = min(1.0, self.params.clip / norm) if norm > 0 else 1.0
        deviation = self.params.multiplier * self.params.clip
        return {
            name: tensor * scale
            + deviation * torch.randn(tensor.shape, generator=context.rng).to(tensor)
            for name, tensor in update.items()
        }

    def guarantee(self, releases: int, schedule: NoiseSchedule) -> Guarantee | None:
        """Return the statement for ``releases`` updates that contain one record."""
        if self.params.multiplier == 0:
            return None
        mu = 2 / self.params.multiplier * math.sqrt(releases)
        return Guarantee(
            epsilon=epsilon_of(mu, self.params.delta),
            delta=self.params.delta,
            unit="one record, replaced by any other",
            sensitivity=f"l2 distance {2 * self.params.clip:g} between updates clipped to "
            f"{self.params.clip:g}",
            releases=releases,
            voided_by=(
                CONTROL_FEATURES,
                UNET_FEATURES,
                NOISE_TARGET,
                PROMPT_EMBEDDING,
                POOLED_PROMPT,
                PREDICTION_DOWN,
                LOSS_GRADIENT,
                CLIENT_WEIGHTS,
            ),
        )
