"""The timestep sampling policy: records are released at high noise only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.interfaces import Card, Channel, Defense, Guarantee, NoiseSchedule, Params, RequestError
from defenses.common.gaussian_accounting import gaussian_mu, latent_statement


class TimestepParams(Params):
    """How t_min is chosen: by exactly one of the three ways.

    Attributes:
        t_min: the smallest timestep that is released; 5 is that of the first public code.
        snr: the largest released signal-to-noise ratio abar_t / (1 - abar_t).
        epsilon: of an (epsilon, delta) statement for one release of one latent.
        delta: likewise.
        sensitivity: D, the largest l2 distance between two latents that the statement covers.
        beta0, k: a linear schedule beta_t = beta0 + k t, by which snr or epsilon is turned into
            t_min in place of the model's own; the noise added, and the statement, stay those of the
            model.
        distribution: of t above t_min: ``uniform``, or ``logit-normal``, t / T = sigmoid(N(mean,
            std^2)) cut at t_min.
        mean, std: of the logit-normal.
    """

    t_min: int | None = Field(default=None, ge=0)
    snr: float | None = Field(default=None, gt=0)
    epsilon: float | None = Field(default=None, gt=0)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    sensitivity: float = Field(default=8.0, gt=0)
    beta0: float | None = Field(default=None, gt=0, lt=1)
    k: float | None = Field(default=None, ge=0, lt=1)
    distribution: Literal["uniform", "logit-normal"] = "uniform"
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _one_way(self) -> TimestepParams:
        given = [n for n in ("t_min", "snr", "epsilon") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(
                f"choose t_min by one of t_min, snr or epsilon, not by {' and '.join(given)}"
            )
        if (self.beta0 is None) != (self.k is None):
            raise ValueError("beta0 and k make a linear schedule together; give both or neither")
        if self.k is not None and self.snr is None and self.epsilon is None:
            raise ValueError("beta0 and k turn snr or epsilon into t_min; give one of those")
        return self


DEFAULT_T_MIN = 500


class TimestepPolicy(Defense):
    """t ~ U{t_min, …, T-1}, or a logit-normal (Esser et al., arXiv:2403.03206, section 3.1) cut at
    t_min.

    With x_t = a_t z0 + b_t eps this is a Gaussian mechanism of noise-to-signal 1 / SNR_t: two
    latents at distance D are told apart no better than two unit Gaussians at mu = D sqrt(SNR_t)
    (mu-GDP, Dong et al., arXiv:1905.02383), which gives epsilon at a delta. The paper's own
    t_eps(k, beta_0) is not public; the (epsilon, delta, D) form and beta_t = beta0 + k t are this
    project's reading (METHODS 7.1, 1.1.4).
    """

    name = "timestep"
    Params = TimestepParams
    card = Card(
        summary=f"Releases records at timesteps t >= t_min only (default {DEFAULT_T_MIN}; by t_min, snr or epsilon).",
        source="arXiv:2409.08503, timestep sampling policy; accounting: Gaussian DP, arXiv:1905.02383",
        cost="none in bytes or time; fine detail is learnt at low t",
        notes="The paper's default is not public; its first public code used t_min=5. Void where the noise target "
        "crosses the wire, as it does in the published protocol.",
    )

    def t_min(self, schedule: NoiseSchedule) -> int:
        """The smallest timestep released.

        Raises:
            RequestError: the schedule does not reach that far.
        """
        p = self.params
        if p.snr is not None:
            return self._reading(schedule).first_at_or_below_snr(p.snr)
        if p.epsilon is not None:
            mu = gaussian_mu(p.epsilon, p.delta)
            return self._reading(schedule).first_at_or_below_snr((mu / p.sensitivity) ** 2)
        t_min = DEFAULT_T_MIN if p.t_min is None else p.t_min
        if t_min >= schedule.steps:
            raise RequestError(
                f"timestep: t_min {t_min} is beyond the schedule's {schedule.steps} steps"
            )
        return int(t_min)

    def _reading(self, schedule: NoiseSchedule) -> NoiseSchedule:
        """The schedule by which a signal-to-noise ratio becomes a timestep.

        Raises:
            RequestError: beta0 + k t leaves (0, 1) within the schedule's steps.
        """
        if self.params.k is None:
            return schedule
        betas = self.params.beta0 + self.params.k * torch.arange(
            schedule.steps, dtype=torch.float64
        )
        if float(betas[-1]) >= 1:
            raise RequestError(
                f"timestep: beta0 + k t reaches {float(betas[-1]):.3g} at the last of {schedule.steps} steps"
            )
        return NoiseSchedule(torch.cumprod(1 - betas, 0))

    def first_timestep(self, schedule: NoiseSchedule) -> int:
        return self.t_min(schedule)

    def check(self, schedule: NoiseSchedule, channels: frozenset[Channel]) -> None:
        self.t_min(schedule)

    def sample_timesteps(
        self, record_ids: Sequence[str], schedule: NoiseSchedule, rng: torch.Generator
    ) -> Tensor:
        first, count = self.t_min(schedule), len(record_ids)
        if self.params.distribution == "uniform":
            return torch.randint(first, schedule.steps, (count,), generator=rng)
        low = torch.logit(torch.tensor(first / schedule.steps, dtype=torch.float64))
        below = torch.special.ndtr((low - self.params.mean) / self.params.std)
        uniform = below + (1 - below) * torch.rand(count, generator=rng, dtype=torch.float64)
        normal = torch.special.ndtri(uniform.clamp(1e-12, 1 - 1e-12))
        drawn = schedule.steps * torch.sigmoid(self.params.mean + self.params.std * normal)
        return drawn.long().clamp(first, schedule.steps - 1)

    def guarantee(self, releases: int, schedule: NoiseSchedule) -> Guarantee | None:
        """The statement at the worst timestep, composed over ``releases`` (mu grows with their square root)."""
        snr = float(schedule.snr(self.t_min(schedule)))
        return latent_statement(
            snr * releases, self.params.sensitivity, self.params.delta, releases
        )
