"""The client half as a differentiable function, for attacks that search for its inputs."""

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
"""Inputs of the built-in clients: x_t, t, condition in [0, 1], its latents z_c, image in [0, 1]."""


class PublicForward(ABC):
    """The client's features as a function of guessed inputs, from public code and known weights.

    Attributes:
        stem: a copy of the part with trainable weights; a change to them changes the result of
            ``send``.
    """

    stem: nn.Module

    @abstractmethod
    def inputs(self) -> Mapping[str, Unknown]:
        """Return every input of the client's features besides its weights, by name."""

    @abstractmethod
    def send(self, inputs: Mapping[str, Tensor], rng: torch.Generator) -> dict[Channel, Tensor]:
        """Return the feature channels as they would leave the client, with one row per record.

        The result is differentiable in the float inputs and in the weights of ``stem``. The known
        defence is applied to the features in the form of ``Defense.surrogate``.

        Args:
            inputs: tensors ``(B, *shape)`` by name. A channel that depends on a missing input is
                left out.
            rng: source of the defence's draws, which an attacker does not know and draws anew.
        """

    @abstractmethod
    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        """Return what recovered inputs ``(N, *shape)`` claim, by target.

        The mapping is empty where the inputs show no record.
        """
