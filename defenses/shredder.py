"""Shredder: a collection of learned noise tensors, one of which is added to every release."""

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
    """Attributes:
    coeff: what a unit of the noise's standard deviation takes off the client's loss.
    scale: of the Laplace draws that the tensors start from, around half of it; 1.2 in the paper's
    code. collection: how many tensors; a release gets one of them, drawn evenly. rate: step size of
    Adam on the tensors. The paper's code has 3e-4, for trainings of many thousand steps.
    """

    coeff: float = Field(default=0.5, ge=0)
    scale: float = Field(default=1.2, gt=0)
    collection: int = Field(default=4, ge=1)
    rate: float = Field(default=1e-2, gt=0)


class NoiseCollection(TrainedPart):
    """The tensors ``(K, C, h, w)``, made when the first features tell their shape."""

    def __init__(self, params: ShredderParams) -> None:
        self.noise: nn.Parameter | None = None
        self._params = params
        self._optimizer: torch.optim.Adam | None = None

    def drawn(self, features: Tensor, rng: torch.Generator) -> Tensor:
        """A tensor of the collection for each row of ``(B, C, h, w)``."""
        p = self._params
        if self.noise is None:
            first = p.scale * (0.5 + laplace((p.collection, *features.shape[1:]), rng))
            self.noise = nn.Parameter(first.to(features.device))
        chosen = torch.randint(0, p.collection, (len(features),), generator=rng)
        return self.noise[chosen.to(self.noise.device)]

    def spread(self) -> Tensor:
        """Standard deviation of a tensor's numbers, averaged over the collection."""
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
    """h_ctrl + n_k, k drawn for each release; the n_k learn from the server's gradient and from
    -coeff * std(n_k).

    The paper trains the noise of a frozen network; here it is trained beside the client's layers,
    in the same steps.
    """

    name = "shredder"
    Params = ShredderParams
    card = Card(
        summary="Adds to every release one of a few noise tensors, which are trained to be large and to cost no task.",
        source="Mireshghallah et al., arXiv:1905.11814, sections 2.2 to 2.4; METHODS 7.7",
        needs="a client whose own layers train (split-controlnet gradient or u-shaped, split-cnn)",
        cost="K tensors of the features' size on the client; none in bytes",
        notes="No guarantee: the tensors are few and are used again and again. The attacker knows their number and how "
        "they are trained; the tensors themselves are the client's randomness and never cross the wire. Adaptive "
        "attack: the releases are grouped by tensor, and a group's mean, less what the public client makes of "
        "auxiliary records, is the tensor. h_sd is left as it is.",
    )

    trained_part: NoiseCollection

    def __init__(self, params: Params | None = None) -> None:
        super().__init__(params)
        self.trained_part = NoiseCollection(self.params)

    def check(self, schedule: NoiseSchedule, channels: frozenset[Channel]) -> None:
        refuse_untrained(self.name, channels)

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel != CONTROL_FEATURES:
            return tensor
        return tensor + self.trained_part.drawn(tensor, context.rng).to(tensor)

    def surrogate(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        """The features alone: what the collection adds is for the attacker to find in the releases, not to guess."""
        return tensor

    def client_loss(
        self, private: Mapping[str, Tensor], sent: Mapping[Channel, Tensor]
    ) -> Tensor | None:
        if self.params.coeff == 0 or self.trained_part.noise is None:
            return None
        return -self.params.coeff * self.trained_part.spread()
