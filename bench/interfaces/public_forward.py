"""The client half as a differentiable function, for attacks that search for what was put into it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.interfaces.public_trainer import Unknown
from bench.types.channels import Channel

if TYPE_CHECKING:
    from bench.types.estimate import Estimate

NOISY, TIMESTEPS, CONDITION, CONDITION_LATENTS, PIXELS = (
    "noisy",
    "timesteps",
    "condition",
    "condition_latents",
    "pixels",
)
"""Inputs of the built-in clients: x_t, t, the condition in [0, 1], its latents z_c, and a picture in [0, 1]."""


class PublicForward(ABC):
    """What the client makes of guessed inputs, from public code and the weights that an attacker
    has.

    Attributes:
        stem: the part with trainable weights, a copy of its own: changing them changes what
            ``send`` gives.
    """

    stem: nn.Module

    @abstractmethod
    def inputs(self) -> Mapping[str, Unknown]:
        """By name, everything that the client's features are computed on besides its weights."""

    @abstractmethod
    def send(self, inputs: Mapping[str, Tensor], rng: torch.Generator) -> dict[Channel, Tensor]:
        """Feature channels as they would leave the client, by channel, rows aligned with ``inputs``
        ``(B, *shape)``.

        Differentiable in the float inputs and in the weights of ``stem``. What the known defence
        does to features is done to these too, in the form of ``Defense.surrogate``.

        Args:
            inputs: by name; a channel that hangs on an input left out is left out too.
            rng: draws of the defence, which an attacker does not know, are made anew from it.
        """

    @abstractmethod
    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        """What found inputs ``(N, *shape)`` claim, by target; empty where they show no record."""
