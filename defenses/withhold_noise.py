"""Withhold the noise target: the client returns a protected gradient of the loss instead."""

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
    LossFeedback,
    NoiseSchedule,
    Params,
    ProtectContext,
)
from defenses.common.feature_params import clipped, per_record
from defenses.common.gaussian_accounting import with_noisy_target


class WithholdNoiseParams(Params):
    """Sets how the returned gradient is protected.

    Attributes:
        feedback: what the client does to each record's gradient g of the loss: ``plain`` returns
            it; ``noise`` adds noise; ``clip-noise`` clips it to a norm and adds noise; ``sign``
            returns its signs times its mean absolute value; ``project`` returns its projection on a
            few random directions.
        noise: standard deviation of the noise: in units of the noise target for ``noise`` (eps +
            eta, eta ~ N(0, noise^2)), in units of ``clip`` for ``clip-noise``.
        clip: largest l2 norm of a record's gradient, in units of the noise target's expected norm.
        directions: how many random directions ``project`` keeps.
    """

    feedback: Literal["plain", "noise", "clip-noise", "sign", "project"] = "plain"
    noise: float = Field(default=1.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    directions: int = Field(default=16, ge=1)


class WithholdNoise(Defense):
    """Returns a protected version of the loss gradient g = 2 (eps_hat - eps) / N to the server.

    eps_hat is the server's prediction for the batch, and N is how many numbers it has. The server
    knows eps_hat, so g determines eps exactly. With n numbers in a record and u = 2 / N, each kind
    of feedback leaks exactly this:

    * ``plain``: eps.
    * ``noise``: g + u noise eta, that is eps + noise eta: the target of ``noisy-target``.
    * ``clip-noise``: min(1, C / ||g||) g + noise C eta with C = clip u sqrt(n). By itself this is
      mu-GDP with mu = 2 / noise for a release (arXiv:1905.02383), whatever the records are; each
      number of eps gets noise of deviation clip sqrt(n) noise.
    * ``sign``: one bit for each number of eps, which is whether it is above eps_hat, and one mean
      absolute error.
    * ``project``: the ``directions`` coordinates of eps - eps_hat along directions that are drawn
      anew for each release, rescaled to be unbiased; the rest, a share 1 - directions / n, is not
      sent.
    """

    name = "withhold-noise"
    Params = WithholdNoiseParams
    params: WithholdNoiseParams
    withheld = frozenset({NOISE_TARGET})
    card = Card(
        summary="Keeps the noise target and the loss on the client, and returns a protected "
        "gradient of the loss.",
        source="this project; u-shaped split learning (Vepakomma et al., arXiv:1812.00564)",
        needs="a client that sends a noise target or returns a loss gradient, such as "
        "split-controlnet's",
        cost="the prediction comes down and its gradient goes up, one more round trip for each "
        "step",
        notes="feedback=plain hides nothing: eps = eps_hat - (N / 2) g. Adaptive attack: that "
        "algebra, then z0 by the diffusion prior at the remaining uncertainty of eps, averaged "
        "over releases. The statement of clip-noise covers the feedback alone, and is void because "
        "the features carry the record too.",
    )

    def wire(self, channels: frozenset[Channel]) -> frozenset[Channel]:
        if NOISE_TARGET not in channels:
            return channels
        return (channels - {NOISE_TARGET}) | {PREDICTION_DOWN, LOSS_GRADIENT}

    def qualify(self, statement: Guarantee, schedule: NoiseSchedule) -> Guarantee:
        if self.params.feedback != "noise" or not self.params.noise:
            return statement
        return with_noisy_target(statement, self.params.noise, schedule, memoised=False)

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel == LOSS_GRADIENT and self.params.feedback != "plain" else tensor

    def added_noise(self, channel: Channel, size: int) -> float:
        noisy = channel == NOISE_TARGET and self.params.feedback == "noise"
        return float(self.params.noise) if noisy else 0.0

    def loss_feedback(self) -> LossFeedback | None:
        p = self.params
        if p.feedback == "sign":
            return LossFeedback("signs")
        if p.feedback == "project":
            return LossFeedback("projection", directions=p.directions)
        if p.feedback == "clip-noise":
            return LossFeedback("clipped", clip=p.clip, noise=p.noise)
        return LossFeedback("linear")

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel != LOSS_GRADIENT or self.params.feedback == "plain":
            return tensor
        p = self.params
        unit = 2 / tensor.numel()  # the gradient for one unit of the noise target
        size = tensor[0].numel()
        if p.feedback == "noise":
            return tensor + unit * p.noise * _normal(tensor.shape, tensor, context.rng)
        if p.feedback == "sign":
            return tensor.sign() * per_record(tensor.abs().flatten(1).mean(1), tensor)
        if p.feedback == "project":
            directions = _normal((len(tensor), min(p.directions, size), size), tensor, context.rng)
            basis: Tensor = torch.linalg.qr(directions.transpose(1, 2)).Q  # (B, size, directions)
            shadow = basis @ (basis.transpose(1, 2) @ tensor.flatten(1).unsqueeze(2))
            return (shadow.squeeze(2) * size / basis.shape[2]).view_as(tensor)
        longest = p.clip * math.sqrt(size) * unit
        noise = _normal(tensor.shape, tensor, context.rng)
        return clipped(tensor, longest) + p.noise * longest * noise


def _normal(shape: tuple[int, ...], like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=rng).to(like)
