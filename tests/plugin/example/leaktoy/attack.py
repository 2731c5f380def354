"""An attack: the best linear map from a feature map to latents, learnt on auxiliary records."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import (
    UNET_FEATURES,
    Attack,
    Budget,
    Card,
    Channel,
    Claim,
    Estimate,
    NotApplicableError,
    Params,
    Progress,
    View,
)

FEATURES = (Channel("toy_features"), UNET_FEATURES)


class ToyLinearParams(Params):
    """Attributes:
    ridge: weight of the penalty on the map's squared norm.
    """

    ridge: float = Field(default=1e-3, gt=0)


class ToyLinear(Attack):
    """Ridge regression at each position of the map, from features to the image's latents."""

    name = "toy-linear"
    Params = ToyLinearParams
    card = Card(
        summary="Ridge regression from a feature map to the image's latents.",
        source="this project, tests/plugin/example",
        needs="toy_features or unet_features; a client to simulate; auxiliary records",
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        channel = next((c for c in FEATURES if view.has(c)), None)
        if channel is None or view.public.client is None:
            raise NotApplicableError("needs a feature map in view and a client to simulate")
        auxiliary = view.public.auxiliary
        known = view.public.client.simulator(auxiliary).emit(range(len(auxiliary)), rng)
        inputs, latents = _columns(known.sent[channel]), _rows(known.image_latents)
        penalty = self.params.ridge * len(inputs) * torch.eye(inputs.shape[1], dtype=inputs.dtype)
        weights = torch.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ latents)
        features = view.read(channel)
        guess = (_columns(features) @ weights).float()
        guess = (
            guess.view(len(features), *known.image_latents.shape[2:], -1)
            .permute(0, 3, 1, 2)
            .contiguous()
        )
        residual = (inputs @ weights - latents).square().mean()
        return Claim(
            {"image": Estimate(view.public.codec.decode(guess), guess)},
            {"toy_residual": float(residual)},
        )


def _rows(maps: Tensor) -> Tensor:
    """``(N, C, h, w)`` as ``(N h w, C)`` float64."""
    return maps.detach().cpu().double().permute(0, 2, 3, 1).flatten(0, 2)


def _columns(maps: Tensor) -> Tensor:
    """The same with a column of ones for the offset."""
    rows = _rows(maps)
    return torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
