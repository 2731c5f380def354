"""Apply randomised response to the quantised numbers of smashed data."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import Card, Channel, Defense, Guarantee, NoiseSchedule, ProtectContext
from defenses.common.feature_params import SmashedParams, statement_of_one_number, straight_through


class RandomisedResponseParams(SmashedParams):
    """Sets the levels and the privacy of a number.

    Attributes:
        levels: k, how many values a number may have; 2 sends signs.
        clip: C; levels are the centres of k equal parts of [-C, C].
        epsilon: epsilon of one number and release.
    """

    levels: int = Field(default=2, ge=2)
    clip: float = Field(default=2.0, gt=0)
    epsilon: float = Field(default=2.0, gt=0)


class RandomisedResponse(Defense):
    """Sends each number's level with probability e^eps / (e^eps + k - 1), else any other level.

    The levels are not rescaled: the server learns the shrunken scale (Warner 1965; k-ary: Kairouz
    et al., arXiv:1407.1338).
    """

    name = "randomised-response"
    Params = RandomisedResponseParams
    params: RandomisedResponseParams
    card = Card(
        summary="Quantises every number of the smashed data to k levels and sends a wrong level at "
        "random.",
        source="Warner 1965; k-ary: Kairouz et al., arXiv:1407.1338; a comparison of "
        "arXiv:2409.08503 ('LDP rr')",
        cost="none; levels are sent as floats, so bytes do not shrink",
        notes="Randomised response needs discrete values, hence the levels. Unit: one number of "
        "the smashed data. Adaptive attack: the posterior of each number's level, least squares "
        "through conv_in, averaging over epochs.",
    )

    @property
    def truth(self) -> float:
        """Return the probability that the true level is sent."""
        return 1 / (1 + (self.params.levels - 1) * math.exp(-self.params.epsilon))

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel in self.params.channels else tensor

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel not in self.params.channels:
            return tensor
        p = self.params
        width = 2 * p.clip / p.levels
        level = ((tensor.detach() + p.clip) / width).floor().clamp(0, p.levels - 1)
        honest = torch.rand(tensor.shape, generator=context.rng) < self.truth
        other = torch.randint(1, p.levels, tensor.shape, generator=context.rng).to(tensor)
        reported = torch.where(honest.to(tensor.device), level, (level + other) % p.levels)
        return straight_through(tensor, -p.clip + (reported + 0.5) * width)

    def guarantee(self, releases: int, schedule: NoiseSchedule) -> Guarantee | None:
        p = self.params
        return statement_of_one_number(p.epsilon, f"any of {p.levels} levels", releases, p.spared)
