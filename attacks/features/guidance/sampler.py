"""A walk from noise to a clean latent down the levels of a diffusion model, pulled towards what was
observed.

Let z_s = a_s z0 + b_s eps be the state at level s. Two kinds of knowledge pull it:

* evidence, z0 plus white Gaussian noise of a known variance. State and evidence are independent
given z0, so together
  they are one noisy latent of the sum of their precisions, and the denoiser at the level of that
  sum is the exact posterior mean: no gradient is needed.
* a guide, for everything else: the point near the denoiser's guess that explains the observations
best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from attacks.common.denoising import Prior
from attacks.common.evidence import equivalent_timestep
from bench.interfaces import NoiseSchedule

Step = Literal["proximal", "spherical"]
_TINY = 1e-12


class Guide(Protocol):
    """What the observations say beside the prior's guess."""

    def nearest(self, clean: Tensor, variance: Tensor) -> Tensor:
        """The likeliest z0 ``(N, 4, h, w)``, were z0 Gaussian around ``clean`` with ``variance`` ``(N,)`` a number."""


class NoGuide:
    """Nothing to explain beside the evidence."""

    def nearest(self, clean: Tensor, variance: Tensor) -> Tensor:
        return clean


@dataclass(frozen=True)
class SamplerPlan:
    """How to walk.

    Attributes:
        steps: levels, evenly spaced in t from the start's.
        recurrences: visits of each level; between two of them the state is noised back (Lugmayr et
            al., arXiv:2201.09865; 16 in DRAG).
        step: ``proximal`` puts the guide's point in place of the denoiser's guess (as DiffPIR,
            arXiv:2305.08995, and DAPS, arXiv:2407.01521); ``spherical`` turns the step's noise down
            the slope of the guide's distance, taken through the denoiser (arXiv:2402.03201, and
            DRAG).
        ratio: of ``spherical``: how far the noise is turned, 0 not at all, 1 wholly.
        clip: of ``spherical``: the slope's norm, per square root of the dimension, at and above
            which it is turned by all of ``ratio``; a smaller slope turns it by a smaller part.
        eta: noise of a step, 0 none (DDIM), 1 as in ancestral sampling.
    """

    steps: int = 10
    recurrences: int = 1
    step: Step = "proximal"
    ratio: float = 0.2
    clip: float = 0.02
    eta: float = 1.0
    batch_size: int = 64


@dataclass(frozen=True, eq=False)
class GaussianEvidence:
    """Evidence: z0 plus an error of variance 1 / ``precision``.

    Attributes:
        latents: ``(N, 4, h, w)``.
        precision: ``(N,)`` float64; 0 is no evidence.
    """

    latents: Tensor
    precision: Tensor

    def beside(
        self, state: Tensor, times: Tensor, schedule: NoiseSchedule
    ) -> tuple[Tensor, Tensor]:
        """Mean ``(N, 4, h, w)`` and precision ``(N,)`` of what state and evidence say of z0 together."""
        own = schedule.snr(times.cpu()).double()
        total = own + self.precision
        share = (own / total).float().view(-1, 1, 1, 1)
        return share * state / schedule.signal(times) + (1 - share) * self.latents, total


def posterior_mean(
    priors: Sequence[Prior],
    evidence: GaussianEvidence,
    state: Tensor,
    times: Tensor,
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """E[z0 | z_s, evidence] ``(N, 4, h, w)``, differentiable in the state, and the precision behind it ``(N,)``."""
    schedule = priors[0].schedule
    mean, precision = evidence.beside(state, times, schedule)
    level = equivalent_timestep(precision, schedule)
    count = len(state) // len(priors)
    pieces = []
    for i, prior in enumerate(priors):
        for part in torch.split(torch.arange(count), max(1, batch_size)):
            rows, own = part + i * count, prior.of(part)
            noisy = schedule.signal(level[rows]) * mean[rows]
            output = own.denoiser.predict(noisy, level[rows], own.states, own.pooled).float().cpu()
            pieces.append(schedule.clean(noisy, output, level[rows]))
    known = (precision > schedule.snr(0)).view(
        -1, 1, 1, 1
    )  # more exact than the first level: nothing to denoise
    return torch.where(known, mean, torch.cat(pieces)), precision


def spherical_noise(noise: Tensor, slope: Tensor, ratio: Tensor) -> Tensor:
    """Noise of radius sqrt(d) turned towards -``slope`` on the sphere of that radius, ``(N, ...)``.

    The spherical Gaussian step of arXiv:2402.03201, equation 12, on which the step's length stays
    what noise has.

    Args:
        ratio: ``(N,)``, the slope's part in the mean of the two directions.
    """
    radius = math.sqrt(noise[0].numel())
    down = -radius * slope / _norm(slope)
    part = ratio.view(-1, *[1] * (noise.ndim - 1))
    mixed = (1 - part) * noise + part * down
    return radius * mixed / _norm(mixed)


def walk(
    priors: Sequence[Prior],
    evidence: GaussianEvidence,
    guide: Guide,
    state: Tensor,
    times: Tensor,
    plan: SamplerPlan,
    *,
    rng: torch.Generator,
    advance: Callable[[int], None] = lambda n: None,
) -> Tensor:
    """A draw of z0 ``(N, 4, h, w)`` given evidence and guide, from ``state`` at levels ``times``
    ``(N,)``.

    Args:
        priors: of equal shares of the rows, in order; all of one schedule.
        advance: is told of each call of the denoiser.
    """
    schedule = priors[0].schedule
    for i in range(plan.steps):
        now = (times * (plan.steps - i)) // plan.steps
        after = (times * (plan.steps - i - 1)) // plan.steps
        for visit in range(plan.recurrences):
            at = state.detach().requires_grad_(plan.step == "spherical")
            with torch.set_grad_enabled(plan.step == "spherical"):
                clean, precision = posterior_mean(priors, evidence, at, now, plan.batch_size)
            variance = (
                1 / (1 + precision).float()
            )  # of a unit Gaussian prior: an upper bound in all but direction
            likely = guide.nearest(clean.detach(), variance)
            advance(1)
            if i == plan.steps - 1 and visit == plan.recurrences - 1:
                return likely
            fresh = torch.randn(state.shape, generator=rng)
            if plan.step == "spherical":
                fresh = _towards(at, clean, likely, variance, fresh, plan)
                middle = clean.detach()
            else:
                middle = likely
            lower = _down(schedule, state, middle, now, after, plan.eta, fresh)
            state = (
                lower if visit == plan.recurrences - 1 else _up(schedule, lower, now, after, rng)
            )
    raise AssertionError("unreachable: a walk has at least one step")


def _towards(
    at: Tensor, clean: Tensor, likely: Tensor, variance: Tensor, noise: Tensor, plan: SamplerPlan
) -> Tensor:
    """The step's noise, turned down the slope of ||likely - clean||^2 / 2 variance with respect to the state."""
    loss = ((likely - clean).square().flatten(1).sum(1) / (2 * variance)).sum()
    (slope,) = torch.autograd.grad(loss, at)
    size = slope.flatten(1).norm(dim=1) / math.sqrt(slope[0].numel())
    return spherical_noise(noise, slope, plan.ratio * (size / max(plan.clip, _TINY)).clamp_max(1))


def _down(
    schedule: NoiseSchedule,
    state: Tensor,
    clean: Tensor,
    now: Tensor,
    after: Tensor,
    eta: float,
    fresh: Tensor,
) -> Tensor:
    """The state one level lower (arXiv:2010.02502, equation 12), given z0."""
    a, b, a_next, b_next = (
        schedule.signal(now),
        schedule.noise(now),
        schedule.signal(after),
        schedule.noise(after),
    )
    noise = (state - a * clean) / b
    width = eta * b_next / b * (1 - (a / a_next).square()).clamp_min(0).sqrt()
    return (
        a_next * clean
        + (b_next.square() - width.square()).clamp_min(0).sqrt() * noise
        + width * fresh
    )


def _up(
    schedule: NoiseSchedule, state: Tensor, now: Tensor, after: Tensor, rng: torch.Generator
) -> Tensor:
    """The state noised back from level ``after`` to ``now``."""
    kept = schedule.signal(now) / schedule.signal(after)
    return kept * state + (1 - kept.square()).clamp_min(0).sqrt() * torch.randn(
        state.shape, generator=rng
    )


def _norm(tensor: Tensor) -> Tensor:
    norm: Tensor = tensor.flatten(1).norm(dim=1)
    return norm.clamp_min(_TINY).view(-1, *[1] * (tensor.ndim - 1))
