"""A budget of signal for each record, over all its releases."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import Card, Defense, Guarantee, NoiseSchedule, Params
from defenses.common.gaussian_accounting import latent_statement


class SnrBudgetParams(Params):
    """Attributes:
    budget: B, the largest sum of SNR_t over a record's releases.
    share: of what is left, the most that one release may spend.
    delta: of the (epsilon, delta) statement.
    sensitivity: D, the largest l2 distance between two latents that the statement covers.
    """

    budget: float = Field(default=1.0, gt=0)
    share: float = Field(default=0.5, gt=0, le=1)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    sensitivity: float = Field(default=8.0, gt=0)


class SnrBudget(Defense):
    """t ~ U{t_r, ..., T-1} with t_r the first timestep whose SNR is within ``share`` of what is
    left of B.

    A record whose rest is below the schedule's last SNR retires: it is sent at the last timestep
    from then on. So the sum over k releases is at most B + k SNR_(T-1), and the releases are mu-GDP
    at D sqrt of that (Dong et al., arXiv:1905.02383). Timesteps depend on the past ones alone, not
    on what the record shows.
    """

    name = "snr-budget"
    Params = SnrBudgetParams
    card = Card(
        summary="Lets each record spend a budget of signal-to-noise over all releases; then it is sent as noise only.",
        source="this project; METHODS 7.1",
        cost="none in bytes; later epochs train at high noise only",
        notes="A spent record still takes part at the last timestep, which is nearly noise but not quite. Void where "
        "the noise target crosses the wire. Adaptive attack: fusion over epochs with the diffusion prior, which at "
        "best gets SNR B. A simulated client starts with its budget whole.",
    )

    def __init__(self, params: Params | None = None) -> None:
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
