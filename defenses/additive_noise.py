"""Add noise to smashed data without clipping it, hence without a guarantee."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import Card, Channel, Defense, ProtectContext
from defenses.common.feature_params import SmashedParams, laplace


class AdditiveNoiseParams(SmashedParams):
    """Sets how much noise is added, and of which distribution.

    Attributes:
        noise: standard deviation of the noise on every number.
        kind: ``gaussian`` or ``laplace``.
    """

    noise: float = Field(default=0.5, ge=0)
    kind: Literal["gaussian", "laplace"] = "gaussian"


class AdditiveNoise(Defense):
    """Sends h + noise, whatever the size of h."""

    name = "additive-noise"
    Params = AdditiveNoiseParams
    params: AdditiveNoiseParams
    card = Card(
        summary="Adds noise to the smashed data without clipping; gives no guarantee at any noise.",
        source="Titcombe et al., arXiv:2104.05743 (Laplace); the comparisons of arXiv:2409.08503",
        cost="none in bytes",
        notes="Nothing bounds what a record contributes, so no epsilon follows. Adaptive attack: "
        "as for gaussian-noise. Noise on x_t costs the attacker more than equally strong noise on "
        "h_sd: stack this defence on send-latent.",
    )

    def added_noise(self, channel: Channel, size: int) -> float:
        gaussian = self.params.kind == "gaussian" and channel in self.params.channels
        return float(self.params.noise) if gaussian else 0.0

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel in self.params.channels else tensor

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel not in self.params.channels:
            return tensor
        if self.params.kind == "gaussian":
            noise = torch.randn(tensor.shape, generator=context.rng)
        else:
            noise = laplace(tensor.shape, context.rng) / 2**0.5
        return tensor + self.params.noise * noise.to(tensor)
