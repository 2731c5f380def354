"""Clipping and Gaussian noise on updates, on the client."""

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
)
from defenses.common.gaussian_accounting import epsilon_of


class ClipNoiseParams(Params):
    """Attributes:
    clip: C, the largest l2 norm of a whole update (of the weights' change, so the learning rate is
    in it). multiplier: the noise's standard deviation over C; 0 only clips. delta: of the (epsilon,
    delta) statement.
    """

    clip: float = Field(default=0.1, gt=0)
    multiplier: float = Field(default=0.1, ge=0)
    delta: float = Field(default=1e-5, gt=0, lt=1)


class ClipNoise(Defense):
    """The update, all tensors together, shortened to norm C, plus normal noise of deviation
    ``multiplier`` C.

    The Gaussian mechanism: replacing one record changes the one update it is in by at most 2 C, so
    each release is mu-GDP with mu = 2 / multiplier (Dong et al., arXiv:1905.02383), and k releases
    with sqrt(k) mu. What the server sends back is made of noised updates and costs nothing more.
    """

    name = "clip-noise"
    Params = ClipNoiseParams
    card = Card(
        summary="Clips each whole update to a norm and adds Gaussian noise before it leaves the client.",
        source="Abadi et al., arXiv:1607.00133, applied to whole updates; accounting: Gaussian DP, arXiv:1905.02383",
        cost="none in bytes or time",
        notes="Acts on client_update alone; its statement is void where features, noise targets or weights of the "
        "client cross the wire. Small multipliers hide detail without a useful epsilon.",
    )

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
        """For ``releases`` updates that one record is in."""
        if self.params.multiplier == 0:
            return None
        mu = 2 / self.params.multiplier * math.sqrt(releases)
        return Guarantee(
            epsilon=epsilon_of(mu, self.params.delta),
            delta=self.params.delta,
            unit="one record, replaced by any other",
            sensitivity=f"l2 distance {2 * self.params.clip:g} between updates clipped to {self.params.clip:g}",
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
