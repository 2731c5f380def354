"""Sample high timesteps only, so that records are released at high noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.interfaces import Card, Channel, Defense, Guarantee, NoiseSchedule, Params, RequestError
from defenses.common.gaussian_accounting import gaussian_mu, latent_statement


class TimestepParams(Params):
    """Sets t_min by at most one of ``t_min``, ``snr`` and ``epsilon``.

    Attributes:
        t_min: the smallest timestep that is released; the first public code has 5.
        snr: the largest released signal-to-noise ratio abar_t / (1 - abar_t).
        epsilon: epsilon of an (epsilon, delta) statement for one release of one latent.
        delta: delta of the (epsilon, delta) statement.
        sensitivity: D, the largest l2 distance between two latents that the statement covers.
        beta0: offset of a linear schedule beta_t = beta0 + k t, which replaces the model's schedule
            where snr or epsilon is converted into t_min. The noise that is added and the statement
            still follow the model's schedule.
        k: slope of that linear schedule.
        distribution: distribution of t above t_min: ``uniform``, or ``logit-normal``, which is
            t / T = sigmoid(N(mean, std^2)) truncated at t_min.
        mean: mean of the normal variable of ``logit-normal``.
        std: standard deviation of the normal variable of ``logit-normal``.
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
    """Draws t from t_min to T-1, uniformly or from a truncated logit-normal distribution.

    The logit-normal is that of Esser et al. (arXiv:2403.03206, section 3.1). With
    x_t = a_t z0 + b_t eps a release is a Gaussian mechanism of noise-to-signal ratio 1 / SNR_t: two
    latents at distance D are as hard to distinguish as two unit Gaussians at distance
    mu = D sqrt(SNR_t) (mu-GDP, Dong et al., arXiv:1905.02383), which gives epsilon for a delta. The
    paper's t_eps(k, beta_0) is not public; the (epsilon, delta, D) form and beta_t = beta0 + k t
    are this project's interpretation.
    """

    name = "timestep"
    Params = TimestepParams
    params: TimestepParams
    card = Card(
        summary=f"Releases records at timesteps t >= t_min only (default {DEFAULT_T_MIN}; set by "
        "t_min, snr or epsilon).",
        source="arXiv:2409.08503, timestep sampling policy; accounting: Gaussian DP, "
        "arXiv:1905.02383",
        cost="none in bytes or time; the network learns fine detail at low t",
        notes="The paper's default is not public; its first public code used t_min=5. Void where "
        "the noise target crosses the wire, as it does in the published protocol.",
    )

    def t_min(self, schedule: NoiseSchedule) -> int:
        """Return the smallest released timestep.

        Raises:
            RequestError: t_min is beyond the last timestep of the schedule.
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
        """Return the schedule that converts a signal-to-noise ratio into a timestep.

        Raises:
            RequestError: beta0 + k t leaves (0, 1) within the schedule's steps.
        """
        beta0, k = self.params.beta0, self.params.k
        if beta0 is None or k is None:
            return schedule
        betas = beta0 + k * torch.arange(schedule.steps, dtype=torch.float64)
        if float(betas[-1]) >= 1:
            raise RequestError(
                f"timestep: beta0 + k t reaches {float(betas[-1]):.3g} at the last of "
                f"{schedule.steps} steps"
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
        """Return the statement at the worst timestep, composed over ``releases``.

        mu grows with the square root of the number of releases.
        """
        snr = float(schedule.snr(self.t_min(schedule)))
        return latent_statement(
            snr * releases, self.params.sensitivity, self.params.delta, releases
        )
