"""Memoise the noise: every release of a record shows one noisy latent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import (
    Card,
    Channel,
    Defense,
    Guarantee,
    NoiseSchedule,
    Params,
    RequestError,
    generator,
)
from defenses.common.gaussian_accounting import latent_statement
from defenses.common.record_noise import per_record_noise


class MemoisedNoiseParams(Params):
    """Sets the timesteps, and the numbers that the statement is computed from.

    Attributes:
        t_min: the smallest timestep; a timestep policy cannot be stacked, since both draw t.
        delta: delta of the (epsilon, delta) statement.
        sensitivity: D, the largest l2 distance between two latents that the statement covers.
    """

    t_min: int = Field(default=0, ge=0)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    sensitivity: float = Field(default=8.0, gt=0)


class MemoisedNoise(Defense):
    """Draws (t, eps) once for each record, from a secret of the client, and keeps it.

    k releases reveal no more about a latent than one release: mu stays D sqrt(SNR_t). Memoisation
    follows RAPPOR (arXiv:1407.6981, section 3.2).
    """

    name = "memoised-noise"
    Params = MemoisedNoiseParams
    params: MemoisedNoiseParams
    card = Card(
        summary="Gives each record one permanent timestep and noise, so that more epochs show "
        "nothing new.",
        source="this project; memoisation as in RAPPOR, arXiv:1407.6981",
        cost="none in bytes; the network sees each record at one noise level only",
        notes="The latent is still drawn from the autoencoder's posterior at each release, so "
        "releases of a record differ slightly and can be linked. Void where the noise target "
        "crosses the wire. Adaptive attack: the attack on one release.",
    )

    def __init__(self, params: MemoisedNoiseParams | None = None) -> None:
        super().__init__(params)
        self._secrets: dict[str, int] = {}

    def check(self, schedule: NoiseSchedule, channels: frozenset[Channel]) -> None:
        if self.params.t_min >= schedule.steps:
            raise RequestError(
                f"{self.name}: t_min {self.params.t_min} is beyond the schedule's {schedule.steps} "
                "steps"
            )

    def first_timestep(self, schedule: NoiseSchedule) -> int:
        return int(self.params.t_min)

    def sample_timesteps(
        self, record_ids: Sequence[str], schedule: NoiseSchedule, rng: torch.Generator
    ) -> Tensor:
        secret = self._secret("timesteps", rng)
        low, high = self.params.t_min, schedule.steps
        drawn = [
            torch.randint(low, high, (1,), generator=generator(secret, self.name, name))
            for name in record_ids
        ]
        return torch.cat(drawn)

    def keeps_noise(self) -> bool | None:
        return True

    def sample_noise(
        self, record_ids: Sequence[str], shape: tuple[int, ...], rng: torch.Generator
    ) -> Tensor:
        return per_record_noise(self._secret("noise", rng), self.name, record_ids, tuple(shape[1:]))

    def _secret(self, purpose: str, rng: torch.Generator) -> int:
        if purpose not in self._secrets:
            self._secrets[purpose] = int(torch.randint(2**62, (1,), generator=rng))
        return self._secrets[purpose]

    def guarantee(self, releases: int, schedule: NoiseSchedule) -> Guarantee | None:
        snr = float(schedule.snr(self.params.t_min))
        unit = "one record's mean image latent"
        return latent_statement(
            snr, self.params.sensitivity, self.params.delta, releases, once=True, unit=unit
        )
