"""A critic that makes decoded latents look like those of the attacker's pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.common.attack_run import AttackRun
from attacks.common.training import gradient_step
from attacks.learned.parts.discrepancy import Critic, verdict
from attacks.learned.parts.inverse_network import InverseNetwork
from attacks.learned.parts.simulated_releases import Inputs, SimulatedReleases


class LatentCritic:
    """Extra loss of the decoder in SDAR (arXiv:2310.10483, section 4); trains one step per call.

    Args:
        releases: simulated releases of the attacker's records.
        records: how many records there are.
        observed: the victim's releases, which are to be decoded.
        run: generator and batch size.
        weight: of the verdict.
        width: channels of the critic.
        rate: learning rate of the critic.
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
        """Train the critic by one step, and return its verdict on the decoder's output."""
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
