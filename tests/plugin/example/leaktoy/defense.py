"""A defence: Gaussian noise on the features that leave the client."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import CONTROL_FEATURES, Card, Channel, Defense, Params, ProtectContext

NOISED = (CONTROL_FEATURES, Channel("toy_features"))


class ToyNoiseParams(Params):
    """Attributes:
    sigma: standard deviation of the noise.
    """

    sigma: float = Field(default=0.5, ge=0)


class ToyNoise(Defense):
    """Fresh noise for every release; the other channels pass."""

    name = "toy-noise"
    Params = ToyNoiseParams
    card = Card(
        summary="Adds Gaussian noise of standard deviation sigma to control_features.",
        source="this project, tests/plugin/example",
        notes="No guarantee: nothing bounds the sensitivity.",
    )

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel not in NOISED:
            return tensor
        sigma: float = self.params.sigma
        return tensor + sigma * torch.randn(tensor.shape, generator=context.rng).to(tensor)
