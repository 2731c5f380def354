"""Shredder: add one of several learned noise tensors to every release."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.interfaces import (
    CONTROL_FEATURES,
    Card,
    Channel,
    Defense,
    NoiseSchedule,
    Params,
    ProtectContext,
    TrainedPart,
)
from defenses.common.feature_params import laplace
from defenses.common.requires_training_client import refuse_untrained


class ShredderParams(Params):
    """Sets the collection of noise tensors and how it is trained.

    Attributes:
        coeff: how much one unit of the noise's standard deviation reduces the client's loss.
        scale: scale of the Laplace distribution that the tensors are initialised from; its mean is
            half of the scale. 1.2 in the paper's code.
        collection: how many tensors there are; each release gets one of them, drawn uniformly.
        rate: step size of Adam on the tensors. The paper's code has 3e-4, for trainings of many
            thousand steps.
    """

    coeff: float = Field(default=0.5, ge=0)
    scale: float = Field(default=1.2, gt=0)
    collection: int = Field(default=4, ge=1)
    rate: float = Field(default=1e-2, gt=0)


class NoiseCollection(TrainedPart):
    """Holds the tensors ``(K, C, h, w)``, created in the shape of the first features."""

    def __init__(self, params: ShredderParams) -> None:
        self.noise: nn.Parameter | None = None
        self._params = params
        self._optimizer: torch.optim.Adam | None = None

    def drawn(self, features: Tensor, rng: torch.Generator) -> Tensor:
        """Return a random tensor of the collection for each row of ``(B, C, h, w)`` features."""
        p = self._params
        if self.noise is None:
            first = p.scale * (0.5 + laplace((p.collection, *features.shape[1:]), rng))
            self.noise = nn.Parameter(first.to(features.device))
        chosen = torch.randint(0, p.collection, (len(features),), generator=rng)
        return self.noise[chosen.to(self.noise.device)]

    def spread(self) -> Tensor:
        """Return the standard deviation of a tensor's numbers, averaged over the collection."""
        assert self.noise is not None
        return self.noise.flatten(1).std(1).mean()

    def step(self) -> None:
        if self.noise is None:
            return
        if self._optimizer is None:
            self._optimizer = torch.optim.Adam([self.noise], lr=self._params.rate)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        return {} if self.noise is None else {"noise": self.noise}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.noise, self._optimizer = nn.Parameter(state["noise"].clone()), None


class Shredder(Defense):
    """Sends h_ctrl + n_k with k drawn for each release.

    The n_k are trained by the server's gradient and the loss -coeff * std(n_k). The paper trains
    the noise of a frozen network; here each step trains the noise and the client's layers together.
    """

    name = "shredder"
    Params = ShredderParams
    params: ShredderParams
    card = Card(
        summary="Adds to every release one of a few noise tensors, which are trained to be large "
        "without harming the task.",
        source="Mireshghallah et al., arXiv:1905.11814, sections 2.2 to 2.4",
        needs="a client whose own layers train (split-controlnet gradient or u-shaped, split-cnn)",
        cost="K tensors of the features' size on the client; none in bytes",
        notes="No guarantee: the tensors are few and are used repeatedly. The attacker knows their "
        "number and how they are trained; the tensors themselves are the client's randomness and "
        "never cross the wire. Adaptive attack: releases are grouped by tensor, and the mean of a "
        "group minus the mean of the public client's features of auxiliary records estimates the "
        "tensor. h_sd is not changed.",
    )

    trained_part: NoiseCollection

    def __init__(self, params: ShredderParams | None = None) -> None:
        super().__init__(params)
        self.trained_part = NoiseCollection(self.params)

    def check(self, schedule: NoiseSchedule, channels: frozenset[Channel]) -> None:
        refuse_untrained(self.name, channels)

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel == CONTROL_FEATURES else tensor

    def noise_collection(self, channel: Channel) -> int:
        return int(self.params.collection) if channel == CONTROL_FEATURES else 0

    def assume_collection(self, channel: Channel, collection: Tensor) -> None:
        if channel == CONTROL_FEATURES:
            self.trained_part.restore({"noise": collection})

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel != CONTROL_FEATURES:
            return tensor
        return tensor + self.trained_part.drawn(tensor, context.rng).to(tensor)

    def surrogate(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        """Return the features alone: the attack estimates the collection from the releases."""
        return tensor

    def client_loss(
        self, private: Mapping[str, Tensor], sent: Mapping[Channel, Tensor]
    ) -> Tensor | None:
        if self.params.coeff == 0 or self.trained_part.noise is None:
            return None
        return -self.params.coeff * self.trained_part.spread()
