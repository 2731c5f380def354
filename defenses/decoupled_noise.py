"""Mask the control branch by separate noise instead of x_t."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import Card, Defense, Params, ProtectContext
from defenses.common.record_noise import per_record_noise


class DecoupledNoiseParams(Params):
    """Sets the noise of the control branch.

    Attributes:
        b: standard deviation of the control branch's noise; the condition's latent has about unit
            variance.
        memoised: whether a record gets identical noise at every release, so that averaging over
            epochs gains nothing.
    """

    b: float = Field(default=1.0, gt=0)
    memoised: bool = False


class DecoupledNoise(Defense):
    """Sends h_ctrl = stem(b e', c) with separate noise e' ~ N(0, I) in place of stem(x_t, c).

    In ``no-gradient``, h_ctrl is z_c + b e': the server can no longer subtract the x_t that it
    reads off h_sd. One release shows the condition's latent at SNR 1 / b^2; k releases show it at
    SNR k / b^2 unless the noise is memoised.
    """

    name = "decoupled-noise"
    Params = DecoupledNoiseParams
    params: DecoupledNoiseParams
    card = Card(
        summary="Gives the control branch separate noise in place of x_t, so that h_sd does not "
        "unmask it.",
        source="this project",
        cost="none in bytes; the control network works without x_t, in training and at inference",
        notes="The attacker knows b. Adaptive attack: shrinkage or the diffusion prior at SNR 1 / "
        "b^2, averaging over epochs unless memoised. A memoised noise is used at inference too. No "
        "guarantee: the latent is not clipped.",
    )

    def control_noise(self) -> float | None:
        return float(self.params.b)

    def control_input(self, noisy: Tensor, context: ProtectContext) -> Tensor:
        if self.params.memoised:
            fresh = per_record_noise(
                context.secret, self.name, context.record_ids, tuple(noisy.shape[1:])
            )
        else:
            fresh = torch.randn(noisy.shape, generator=context.rng)
        return self.params.b * fresh.to(noisy)
