"""A walk from noise to a clean latent down the levels of a diffusion model, guided by observations.

Let z_s = a_s z0 + b_s eps be the state at level s. Two kinds of knowledge guide it:

* Evidence is z0 plus white Gaussian noise of a known variance. State and evidence are independent
  given z0. Together they are one noisy latent whose precision is the sum of their precisions, and
  the denoiser at the level of that sum is the exact posterior mean; no gradient is needed.
* A guide represents all other observations. It returns the point near the denoiser's guess that
  explains them best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from attacks.common.attack_run import AttackRun
from attacks.common.denoising import DiffusionPrior
from attacks.common.evidence import equivalent_timestep
from bench.interfaces import NoiseSchedule

Step = Literal["proximal", "spherical"]
_TINY = 1e-12


class Guide(Protocol):
    """Observations that the evidence does not contain."""

    def nearest(self, clean: Tensor, variance: Tensor) -> Tensor:
        """Return the likeliest z0 ``(N, 4, h, w)`` under a Gaussian prior around ``clean``.

        Args:
            clean: the denoiser's guess, ``(N, 4, h, w)``.
            variance: of each number, ``(N,)``.
        """


class NoGuide:
    """A guide without observations."""

    def nearest(self, clean: Tensor, variance: Tensor) -> Tensor:
        return clean


@dataclass(frozen=True)
class SamplerPlan:
    """Settings of the walks.

    Attributes:
        steps: levels, evenly spaced in t from the start's.
        recurrences: visits of each level; between two visits the state is noised back (Lugmayr et
            al., arXiv:2201.09865; 16 in DRAG).
        step: ``proximal`` replaces the denoiser's guess by the guide's point (as DiffPIR,
            arXiv:2305.08995, and DAPS, arXiv:2407.01521). ``spherical`` turns the step's noise down
            the slope of the guide's distance, taken through the denoiser (arXiv:2402.03201, and
            DRAG).
        ratio: for ``spherical``, how far the noise is turned: 0 not at all, 1 wholly.
        clip: for ``spherical``, the slope's norm, per square root of the dimension, from which the
            noise is turned by all of ``ratio``. A smaller slope turns it by a smaller part.
        eta: noise of a step: 0 is none (DDIM), 1 is that of ancestral sampling.
        strength: share of all levels that is walked; below 1 the walk starts from an estimate.
        samples: walks whose mean is taken.
        batch_size: latents per call of the denoiser.
    """

    steps: int = 10
    recurrences: int = 1
    step: Step = "proximal"
    ratio: float = 0.2
    clip: float = 0.02
    eta: float = 1.0
    strength: float = 1.0
    samples: int = 1
    batch_size: int = 64


@dataclass(frozen=True, eq=False)
class GaussianEvidence:
    """Measurements of z0 with errors of variance 1 / ``precision``.

    Attributes:
        latents: ``(N, 4, h, w)``.
        precision: ``(N,)`` float64; 0 is no evidence.
    """

    latents: Tensor
    precision: Tensor

    def beside(
        self, state: Tensor, times: Tensor, schedule: NoiseSchedule
    ) -> tuple[Tensor, Tensor]:
        """Return mean ``(N, 4, h, w)`` and precision ``(N,)`` of z0 given state and evidence."""
        own = schedule.snr(times.cpu()).double()
        total = own + self.precision
        share = (own / total).float().view(-1, 1, 1, 1)
        return share * state / schedule.signal(times) + (1 - share) * self.latents, total


def posterior_mean(
    priors: Sequence[DiffusionPrior],
    evidence: GaussianEvidence,
    state: Tensor,
    times: Tensor,
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """Return E[z0 | z_s, evidence] ``(N, 4, h, w)`` and its precision ``(N,)``.

    The mean is differentiable in the state.

    Args:
        priors: of equal shares of the rows, in order.
        evidence: measurements of z0.
        state: z_s, ``(N, 4, h, w)``.
        times: level of each row, ``(N,)``.
        batch_size: latents per call of the denoiser.
    """
    schedule = priors[0].schedule
    mean, precision = evidence.beside(state, times, schedule)
    level = equivalent_timestep(precision, schedule)
    count = len(state) // len(priors)
    pieces = []
    for i, prior in enumerate(priors):
        for part in torch.split(torch.arange(count), max(1, batch_size)):
            rows, own = part + i * count, prior.for_rows(part)
            noisy = schedule.signal(level[rows]) * mean[rows]
            output = own.denoiser.predict(noisy, level[rows], own.states, own.pooled).float().cpu()
            pieces.append(schedule.clean(noisy, output, level[rows]))
    # What is more exact than the first level needs no denoising.
    known = (precision > schedule.snr(0)).view(-1, 1, 1, 1)
    return torch.where(known, mean, torch.cat(pieces)), precision


def spherical_noise(noise: Tensor, slope: Tensor, ratio: Tensor) -> Tensor:
    """Return noise of radius sqrt(d), turned towards -``slope`` on the sphere of that radius.

    This is the spherical Gaussian step of arXiv:2402.03201, equation 12; the length of the step
    remains that of noise.

    Args:
        noise: ``(N, ...)``.
        slope: ``(N, ...)``.
        ratio: the slope's part in the mean of the two directions, ``(N,)``.
    """
    radius = math.sqrt(noise[0].numel())
    down = -radius * slope / _norm(slope)
    part = ratio.view(-1, *[1] * (noise.ndim - 1))
    mixed = (1 - part) * noise + part * down
    return radius * mixed / _norm(mixed)


def mean_walk(
    priors: Sequence[DiffusionPrior],
    evidence: GaussianEvidence,
    guide: Guide,
    start: Tensor,
    plan: SamplerPlan,
    run: AttackRun,
) -> Tensor:
    """Return the mean of several walks, ``(N, 4, h, w)``.

    Args:
        priors: of equal shares of the rows, in order; all have one schedule.
        evidence: measurements of z0.
        guide: all other observations.
        start: estimates of z0 to start from where ``plan.strength`` is below 1, ``(N, 4, h, w)``.
        plan: how to walk.
        run: generator and progress.
    """
    schedule = priors[0].schedule
    if plan.strength == 1:
        # Even a_T times an estimate would count the evidence twice: the walk sees it as well.
        start = torch.zeros_like(start)
    times = torch.full((len(start),), max(1, round(plan.strength * (schedule.steps - 1))))
    total = torch.zeros_like(start)
    calls = plan.steps * plan.recurrences * plan.samples
    with run.progress.stage("walking", calls) as advance:
        for _ in range(plan.samples):
            noise = torch.randn(start.shape, generator=run.rng)
            state = schedule.add_noise(start, noise, times)
            total += walk(priors, evidence, guide, state, times, plan, rng=run.rng, advance=advance)
    return total / plan.samples


def walk(
    priors: Sequence[DiffusionPrior],
    evidence: GaussianEvidence,
    guide: Guide,
    state: Tensor,
    times: Tensor,
    plan: SamplerPlan,
    *,
    rng: torch.Generator,
    advance: Callable[[int], None] = lambda n: None,
) -> Tensor:
    """Draw z0 ``(N, 4, h, w)`` given evidence and guide.

    Args:
        priors: of equal shares of the rows, in order; all have one schedule.
        evidence: measurements of z0.
        guide: all other observations.
        state: where to start, ``(N, 4, h, w)``.
        times: level of the start, ``(N,)``.
        plan: how to walk.
        rng: draws the noise.
        advance: called with 1 after each call of the denoiser.
    """
    schedule = priors[0].schedule
    for i in range(plan.steps):
        now = (times * (plan.steps - i)) // plan.steps
        after = (times * (plan.steps - i - 1)) // plan.steps
        for visit in range(plan.recurrences):
            at = state.detach().requires_grad_(plan.step == "spherical")
            with torch.set_grad_enabled(plan.step == "spherical"):
                clean, precision = posterior_mean(priors, evidence, at, now, plan.batch_size)
            # The variance under a unit Gaussian prior, an upper bound but for its direction.
            variance = 1 / (1 + precision).float()
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
    """Return the step's noise, turned down the slope of ||likely - clean||^2 / 2 variance.

    The slope is with respect to the state.
    """
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
    """Return the state one level lower, given z0 (arXiv:2010.02502, equation 12)."""
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
    """Return the state noised back from level ``after`` to ``now``."""
    kept = schedule.signal(now) / schedule.signal(after)
    return kept * state + (1 - kept.square()).clamp_min(0).sqrt() * torch.randn(
        state.shape, generator=rng
    )


def _norm(tensor: Tensor) -> Tensor:
    norm: Tensor = tensor.flatten(1).norm(dim=1)
    return norm.clamp_min(_TINY).view(-1, *[1] * (tensor.ndim - 1))
