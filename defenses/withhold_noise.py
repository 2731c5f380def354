"""Withheld noise: the noise target stays on the client, which returns a protected gradient of the loss."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import (
    LOSS_GRADIENT,
    NOISE_TARGET,
    PREDICTION_DOWN,
    Card,
    Channel,
    Defense,
    Guarantee,
    NoiseSchedule,
    Params,
    ProtectContext,
)
from defenses.common.gaussian_accounting import with_noisy_target


class WithholdNoiseParams(Params):
    """Attributes:
    feedback: what is made of each record's gradient g of the loss: ``plain`` returns it; ``noise``
    adds noise;
        ``clip-noise`` shortens it to a norm first; ``sign`` returns its signs at its mean absolute
        value; ``project`` returns its shadow on a few random directions.
    noise: standard deviation of the noise: in units of the noise target for ``noise`` (eps + eta,
    eta ~ N(0, noise^2)),
        in units of ``clip`` for ``clip-noise``.
    clip: largest l2 norm of a record's gradient, in units of the noise target's expected norm.
    directions: how many random directions ``project`` keeps.
    """

    feedback: Literal["plain", "noise", "clip-noise", "sign", "project"] = "plain"
    noise: float = Field(default=1.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    directions: int = Field(default=16, ge=1)


class WithholdNoise(Defense):
    """The server sends eps_hat down and gets a gradient of the mean squared error back, g = 2
    (eps_hat - eps) / N.

    N is how many numbers the batch's prediction has. The server knows eps_hat, so g gives eps away
    exactly; each kind of feedback leaks exactly this (METHODS 7.20), with n = numbers a record and
    u = 2 / N:

    * ``plain``: eps.
    * ``noise``: g + u noise eta, that is eps + noise eta: the noisy target of METHODS 7.17.
    * ``clip-noise``: min(1, C / ||g||) g + noise C eta with C = clip u sqrt(n): by itself mu-GDP at
    mu = 2 / noise a
      release (arXiv:1905.02383), whatever the records are; eps comes with noise of clip sqrt(n)
      noise on each number.
    * ``sign``: one bit for each number of eps, whether it is above eps_hat, and one mean absolute
    error. * ``project``: the ``directions`` coordinates of eps - eps_hat along the directions,
    which are fresh at each
      release; the rest, a share 1 - directions / n of it, is not sent. It is rescaled to be
      unbiased.
    """

    name = "withhold-noise"
    Params = WithholdNoiseParams
    withheld = frozenset({NOISE_TARGET})
    card = Card(
        summary="Keeps the noise target and the loss on the client, and returns a protected gradient of the loss.",
        source="this project; METHODS 7.20; u-shaped split learning (Vepakomma et al., arXiv:1812.00564)",
        needs="a client that sends a noise target or returns a loss gradient, such as split-controlnet's",
        cost="the prediction comes down and its gradient goes up, one round trip more a step",
        notes="feedback=plain hides nothing: eps = eps_hat - (N / 2) g. Adaptive attack: that algebra, then z0 by the "
        "diffusion prior at what is left of eps, averaged over releases. The statement of clip-noise is "
        "about the feedback alone, and void since the features carry the record too.",
    )

    def wire(self, channels: frozenset[Channel]) -> frozenset[Channel]:
        if NOISE_TARGET not in channels:
            return channels
        return (channels - {NOISE_TARGET}) | {PREDICTION_DOWN, LOSS_GRADIENT}

    def qualify(self, statement: Guarantee, schedule: NoiseSchedule) -> Guarantee:
        if self.params.feedback != "noise" or not self.params.noise:
            return statement
        return with_noisy_target(statement, self.params.noise, schedule, memoised=False)

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel != LOSS_GRADIENT or self.params.feedback == "plain":
            return tensor
        p = self.params
        unit = 2 / tensor.numel()  # of one number of the noise target, in the gradient
        size = tensor[0].numel()
        if p.feedback == "noise":
            return tensor + unit * p.noise * _normal(tensor.shape, tensor, context.rng)
        if p.feedback == "sign":
            return tensor.sign() * tensor.abs().flatten(1).mean(1).view(
                -1, *[1] * (tensor.ndim - 1)
            )
        if p.feedback == "project":
            directions = _normal((len(tensor), min(p.directions, size), size), tensor, context.rng)
            basis = torch.linalg.qr(directions.transpose(1, 2)).Q  # (B, size, directions)
            shadow = basis @ (basis.transpose(1, 2) @ tensor.flatten(1).unsqueeze(2))
            return (shadow.squeeze(2) * size / basis.shape[2]).view_as(tensor)
        longest = p.clip * math.sqrt(size) * unit
        norm = tensor.flatten(1).norm(dim=1).view(-1, *[1] * (tensor.ndim - 1))
        clipped = tensor * (longest / norm.clamp_min(1e-30)).clamp_max(1.0)
        return clipped + p.noise * longest * _normal(tensor.shape, tensor, context.rng)


def _normal(shape: tuple[int, ...], like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=rng).to(like)
