"""Limit the sum of the signal-to-noise ratios of all releases of a record."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import Card, Defense, Guarantee, NoiseSchedule, Params
from defenses.common.gaussian_accounting import latent_statement


class SnrBudgetParams(Params):
    """Sets the budget, and the numbers that the statement is computed from.

    Attributes:
        budget: B, the largest sum of SNR_t over a record's releases.
        share: the largest share of the remaining budget that one release may spend.
        delta: delta of the (epsilon, delta) statement.
        sensitivity: D, the largest l2 distance between two latents that the statement covers.
    """

    budget: float = Field(default=1.0, gt=0)
    share: float = Field(default=0.5, gt=0, le=1)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    sensitivity: float = Field(default=8.0, gt=0)


class SnrBudget(Defense):
    """Draws t uniformly from t_r to T-1, where t_r depends on the record's remaining budget.

    t_r is the first timestep whose SNR is at most ``share`` of the remaining budget. A record whose
    allowance is below the SNR of the last timestep is released at the last timestep from then on.
    The sum over k releases is therefore at most B + k SNR_(T-1), and the releases together are
    mu-GDP with mu = D sqrt(B + k SNR_(T-1)) (Dong et al., arXiv:1905.02383). Timesteps depend only
    on past timesteps, not on the content of the record.
    """

    name = "snr-budget"
    Params = SnrBudgetParams
    params: SnrBudgetParams
    card = Card(
        summary="Gives each record a budget of signal-to-noise ratio over all releases; once it is "
        "spent, the record is released at the last timestep.",
        source="this project",
        cost="none in bytes; later epochs train at high noise only",
        notes="A record whose budget is spent still takes part at the last timestep, which is "
        "almost but not purely noise. Void where the noise target crosses the wire. Adaptive "
        "attack: fusion over epochs with the diffusion prior, which reaches SNR B at best. A "
        "simulated client starts with a full budget.",
    )

    def __init__(self, params: SnrBudgetParams | None = None) -> None:
        super().__init__(params)
        self._spent: dict[str, float] = {}

    def sample_timesteps(
        self, record_ids: Sequence[str], schedule: NoiseSchedule, rng: torch.Generator
    ) -> Tensor:
        snr = schedule.snr(torch.arange(schedule.steps))
        last = schedule.steps - 1
        drawn = []
        for name in record_ids:
            allowed = self.params.share * (self.params.budget - self._spent.get(name, 0.0))
            first = int((snr > allowed).sum())  # SNR falls with t
            t = int(torch.randint(min(first, last), last + 1, (1,), generator=rng))
            if first <= last:
                self._spent[name] = self._spent.get(name, 0.0) + float(snr[t])
            drawn.append(t)
        return torch.tensor(drawn, dtype=torch.long)

    def first_timestep(self, schedule: NoiseSchedule) -> int:
        snr = schedule.snr(torch.arange(schedule.steps))
        return min(int((snr > self.params.share * self.params.budget).sum()), schedule.steps - 1)

    def guarantee(self, releases: int, schedule: NoiseSchedule) -> Guarantee | None:
        total = self.params.budget + releases * float(schedule.snr(schedule.steps - 1))
        return latent_statement(total, self.params.sensitivity, self.params.delta, releases)
