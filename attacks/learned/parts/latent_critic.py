"""A critic of latents: holds what a decoder makes of the victim's features to look like those of pictures one has."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.common.attack_run import AttackRun
from attacks.common.training import gradient_step
from attacks.learned.parts.discrepancy import Critic, verdict
from attacks.learned.parts.inverse_network import InverseNetwork
from attacks.learned.parts.simulated_releases import Inputs, SimulatedReleases


class LatentCritic:
    """The decoder's further loss in SDAR (arXiv:2310.10483, section 4); learns a step whenever it
    is asked.

    Args:
        exam: the victim's releases that are to be decoded.
        weight: of the verdict.
        records: of the attacker's own, by number below this.
    """

    def __init__(
        self,
        releases: SimulatedReleases,
        records: int,
        observed: Inputs,
        run: AttackRun,
        *,
        weight: float,
        width: int,
        rate: float,
    ) -> None:
        self._releases, self._records, self._observed = releases, records, observed
        self._batch_size, self._rng, self._weight = run.budget.batch_size, run.rng, weight
        self._critic = Critic(8, width).to(observed.maps.device)
        self._optimizer = torch.optim.Adam(self._critic.parameters(), lr=rate, betas=(0.5, 0.99))

    def __call__(self, decoder: InverseNetwork) -> Tensor:
        chosen = torch.randint(0, self._records, (self._batch_size,), generator=self._rng).tolist()
        _, own = self._releases.draw(chosen, self._rng)
        observed = self._observed
        rows = torch.randint(0, len(observed.maps), (self._batch_size,), generator=self._rng)
        time = None if observed.time is None else observed.time[rows]
        decoded = torch.cat(decoder(Inputs(observed.maps[rows], time)), 1)
        real = torch.cat([own.image_latents, own.condition_latents], 1).float()
        gradient_step(
            self._optimizer,
            verdict(self._critic(real), True) + verdict(self._critic(decoded.detach()), False),
        )
        return self._weight * verdict(self._critic(decoded), True)
