"""The timestep sampling policy: records are released at high noise only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.channels import NOISE_TARGET, PREDICTION_DOWN, Channel
from bench.errors import RequestError
from bench.interfaces import Defense, Guarantee
from bench.plugin import Card, Params
from bench.schedule import NoiseSchedule
from defenses.gaussian_dp import epsilon_of


class TimestepParams(Params):
    """How t_min is chosen: by exactly one of the three ways.

    Attributes:
        t_min: the smallest timestep that is released; 5 is that of the first public code.
        snr: the largest released signal-to-noise ratio abar_t / (1 - abar_t).
        epsilon: of an (epsilon, delta) statement for one release of one latent.
        delta: likewise.
        sensitivity: D, the largest l2 distance between two latents that the statement covers.
    """

    t_min: int | None = Field(default=None, ge=0)
    snr: float | None = Field(default=None, gt=0)
    epsilon: float | None = Field(default=None, gt=0)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    sensitivity: float = Field(default=8.0, gt=0)

    @model_validator(mode="after")
    def _one_way(self) -> TimestepParams:
        given = [n for n in ("t_min", "snr", "epsilon") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(f"choose t_min by one of t_min, snr or epsilon, not by {' and '.join(given)}")
        return self


DEFAULT_T_MIN = 500


class TimestepPolicy(Defense):
    """t ~ U{t_min, …, T-1}.

    With x_t = a_t z0 + b_t eps this is a Gaussian mechanism of noise-to-signal 1 / SNR_t: two latents at
    distance D are told apart no better than two unit Gaussians at mu = D sqrt(SNR_t) (mu-GDP, Dong et
    al., arXiv:1905.02383), which gives epsilon at a delta. The paper's own t_eps(k, beta_0) is not
    public; the (epsilon, delta, D) form here is this project's reading (METHODS 7.1).
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
            return schedule.first_at_or_below_snr(p.snr)
        if p.epsilon is not None:
            mu = gaussian_mu(p.epsilon, p.delta)
            return schedule.first_at_or_below_snr((mu / p.sensitivity) ** 2)
        t_min = DEFAULT_T_MIN if p.t_min is None else p.t_min
        if t_min >= schedule.steps:
            raise RequestError(f"timestep: t_min {t_min} is beyond the schedule's {schedule.steps} steps")
        return int(t_min)

    def first_timestep(self, schedule: NoiseSchedule) -> int:
        return self.t_min(schedule)

    def check(self, schedule: NoiseSchedule, channels: frozenset[Channel]) -> None:
        self.t_min(schedule)

    def sample_timesteps(self, record_ids: Sequence[str], schedule: NoiseSchedule, rng: torch.Generator) -> Tensor:
        return torch.randint(self.t_min(schedule), schedule.steps, (len(record_ids),), generator=rng)

    def guarantee(self, releases: int, schedule: NoiseSchedule) -> Guarantee | None:
        """The statement at the worst timestep, composed over ``releases`` (mu grows with their square root)."""
        snr = float(schedule.snr(self.t_min(schedule)))
        mu = self.params.sensitivity * math.sqrt(snr * releases)
        return Guarantee(
            epsilon=epsilon_of(mu, self.params.delta),
            delta=self.params.delta,
            unit="one record's image latent z0",
            sensitivity=f"l2 distance {self.params.sensitivity:g} between latents; nothing is clipped to it",
            releases=releases,
            voided_by=(NOISE_TARGET, PREDICTION_DOWN),
        )


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The largest mu of a Gaussian mechanism that is (epsilon, delta)-differentially private."""
    from opacus.accountants.analysis.gdp import delta_eps_mu
    from scipy.optimize import brentq

    return float(brentq(lambda mu: delta_eps_mu(eps=epsilon, mu=mu) - delta, 1e-6, 1e3))
