"""Add Laplace noise to clipped numbers: local differential privacy of single numbers."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from bench.interfaces import Card, Channel, Defense, Guarantee, NoiseSchedule, ProtectContext
from defenses.common.feature_params import SmashedParams, laplace, statement_of_one_number


class LaplaceNoiseParams(SmashedParams):
    """Sets the clipping range and the noise.

    Attributes:
        clip: C; every number is clipped to [-C, C].
        epsilon: epsilon of one number and release; the scale of the noise is 2C / epsilon.
    """

    clip: float = Field(default=3.0, gt=0)
    epsilon: float = Field(default=10.0, gt=0)


class LaplaceNoise(Defense):
    """Sends clamp(h, -C, C) + Laplace(0, 2C / epsilon), number by number.

    A whole record of n numbers has l1 sensitivity 2Cn, so the epsilon of a record is n times as
    large.
    """

    name = "laplace-noise"
    Params = LaplaceNoiseParams
    params: LaplaceNoiseParams
    card = Card(
        summary="Clips every number of the smashed data and adds Laplace noise to it.",
        source="Dwork & Roth 2014, definition 3.3",
        cost="none in bytes",
        notes="Unit: one number of the smashed data, which is far weaker than one record; the "
        "epsilons of a record's numbers add up. Adaptive attack: as for gaussian-noise.",
    )

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel in self.params.channels else tensor

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel not in self.params.channels:
            return tensor
        p = self.params
        noise = laplace(tensor.shape, context.rng).to(tensor)
        return tensor.clamp(-p.clip, p.clip) + 2 * p.clip / p.epsilon * noise

    def guarantee(self, releases: int, schedule: NoiseSchedule) -> Guarantee | None:
        p = self.params
        return statement_of_one_number(
            p.epsilon, f"numbers clipped to [-{p.clip:g}, {p.clip:g}]", releases, p.spared
        )
