"""From a noisy latent to a clean one, by a public diffusion model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attacks.common.evidence import equivalent_timestep
from bench.interfaces import Denoiser, NoiseSchedule


@dataclass(frozen=True)
class Way:
    """How to get to t = 0.

    Attributes:
        mode: ``tweedie``, one step; ``ddim``, a deterministic walk; ``samples``, the mean of random
            walks.
        steps: of a walk; samples: walks.
    """

    mode: str
    steps: int = 20
    samples: int = 8


@dataclass(frozen=True, eq=False)
class DiffusionPrior:
    """The public model, given the prompts where they are known.

    Attributes:
        states: of prompts, ``(N, L, D)``; None is the empty prompt.
        pooled: embeddings of the same prompts, ``(N, P)``, where the model takes them and they are
            in view.
    """

    denoiser: Denoiser
    schedule: NoiseSchedule
    states: Tensor | None = None
    pooled: Tensor | None = None

    def for_rows(self, rows: Tensor) -> DiffusionPrior:
        """Return the prior of some of the records."""
        own = replace(self, states=None if self.states is None else self.states[rows])
        return own if self.pooled is None else replace(own, pooled=self.pooled[rows])

    @torch.no_grad()
    def predict(self, noisy: Tensor, times: Tensor) -> Tensor:
        """Return the output of the model, ``(N, 4, h, w)`` float32 on the CPU."""
        return self.denoiser.predict(noisy, times, self.states, self.pooled).float().cpu()

    def clean(self, noisy: Tensor, times: Tensor) -> Tensor:
        """Return E[z0 | x_t], by Tweedie's formula."""
        return self.schedule.clean(noisy, self.predict(noisy, times), times)

    def walk(self, noisy: Tensor, times: Tensor, steps: int, rng: torch.Generator | None) -> Tensor:
        """Return z0 after ``steps`` steps of equal length in t, random ones with ``rng``.

        Source: arXiv:2010.02502, equation 12.
        """
        schedule = self.schedule
        for step in range(steps):
            now = (times * (steps - step)) // steps
            after = (times * (steps - step - 1)) // steps
            output = self.predict(noisy, now)
            clean, noise = schedule.clean(noisy, output, now), schedule.noise_in(noisy, output, now)
            if step == steps - 1:
                return clean
            kept = schedule.noise(after)
            fresh = torch.zeros_like(noisy)
            if rng is not None:
                share = (
                    (1 - (schedule.signal(now) / schedule.signal(after)).square())
                    .clamp_min(0)
                    .sqrt()
                )
                fresh = kept / schedule.noise(now) * share * torch.randn(noisy.shape, generator=rng)
                kept = kept * (1 - (share / schedule.noise(now)).square()).clamp_min(0).sqrt()
            noisy = schedule.signal(after) * clean + kept * noise + fresh
        raise AssertionError("unreachable: a walk has at least one step")


def denoise(
    prior: DiffusionPrior,
    latents: Tensor,
    precision: Tensor,
    way: Way,
    *,
    rng: torch.Generator,
    batch_size: int,
    advance: Callable[[int], None] = lambda n: None,
) -> Tensor:
    """Return z0 from z_ML = z0 + an error of variance 1 / ``precision``.

    The walk starts at the t of that SNR.

    ``(N, 4, h, w)`` float32. What is more exact than the schedule's first step stays as it is.

    Args:
        precision: ``(N,)``.
        rng: for ``samples``.
    """
    schedule = prior.schedule
    times = equivalent_timestep(precision, schedule)
    clean = latents.clone()
    random = way.mode == "samples"
    noisy_rows = torch.nonzero(precision <= schedule.snr(0)).flatten()
    for rows in torch.split(noisy_rows, batch_size):
        if len(rows) == 0:
            continue
        own, noisy = prior.for_rows(rows), schedule.signal(times[rows]) * latents[rows]
        if way.mode == "tweedie":
            clean[rows] = own.clean(noisy, times[rows])
        else:
            paths = [
                own.walk(noisy, times[rows], way.steps, rng if random else None)
                for _ in range(way.samples if random else 1)
            ]
            clean[rows] = torch.stack(paths).mean(0)
        advance(len(rows))
    return clean
