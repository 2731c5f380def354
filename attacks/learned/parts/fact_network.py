"""A network that reads facts off smashed data, and lets public backbones help where they know such facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from attacks.common.attack_run import AttackRun
from attacks.common.training import first_and_last, gradient_step
from attacks.learned.parts.inverse_network import InverseNetwork
from attacks.learned.parts.inverse_training import LARGEST_NORM
from attacks.learned.parts.simulated_releases import Inputs, SimulatedReleases
from bench.interfaces import Params

INVERSION_WEIGHT = 0.5
"""Of the l1 distance of the latents, once facts are learned too: the trunk is not to live by few labels alone."""

LATENTS_ALONE = 0.75
"""Share of the training before facts are learned: few labels are soon learned by heart, and hunches cost decoding."""


@dataclass(frozen=True, eq=False)
class FactTask:
    """x

    Attributes:
        x: y
    """

    records: int
    outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]
    picture_facts: Callable[[Tensor], Tensor] | None = None


class FactParams(Params):
    """Attributes:
    through: name of an attack whose picture is judged in place of the smashed data; empty is none.
    width: channels of the network.
    depth: residual blocks.
    learning_rate: peak of a one-cycle schedule, AdamW.
    backbone: correct what the public backbone says of the estimated picture, in place of starting
    from nothing. mirror: learn from mirrored auxiliary records too.
    """

    through: str = ""
    width: int = Field(default=64, ge=8)
    depth: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    backbone: bool = True
    mirror: bool = True


class FactNetwork(nn.Module):
    """The trunk of an inverse network, then strided convolutions down to 4x4, then a hidden layer.

    Args:
        hunch: what is believed of records with these z0 ``(B, 4, h, w)`` before the release is
            read, ``(B, outputs)``; the network learns what to add.
    """

    def __init__(self, example: Inputs, task: FactTask, params: FactParams) -> None:
        super().__init__()
        width = params.width
        self.trunk = InverseNetwork(example, width, params.depth)
        stages: list[nn.Module] = []
        channels, side = width + 8, min(example.maps.shape[-2:])
        while side > 4:
            stages += [
                nn.Conv2d(channels, width, 3, 2, padding=1),
                nn.GroupNorm(1, width),
                nn.SiLU(),
            ]
            channels, side = width, side // 2
        self.down = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3))
        self.last = nn.Linear(2 * width, task.outputs)
        self.head = nn.Sequential(nn.Linear(16 * channels, 2 * width), nn.SiLU(), self.last)
        self._picture_facts = task.picture_facts
        if task.picture_facts is not None:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    def latents(self, hidden: Tensor) -> Tensor:
        """z0 and z_c side by side, ``(B, 8, h, w)``."""
        return torch.cat([head(hidden) for head in self.trunk.heads], 1)

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Facts ``(B, outputs)``, and the latents."""
        hidden = self.trunk.hidden(inputs)
        latents = self.latents(hidden)
        facts = self.head(self.down(torch.cat([hidden, latents], 1)))
        if self._picture_facts is not None:
            facts = facts + self._picture_facts(latents[:, :4].detach())
        return facts, latents


def train_fact_network(
    releases: SimulatedReleases, task: FactTask, params: FactParams, run: AttackRun
) -> tuple[FactNetwork, dict[str, float]]:
    """Teach a reader on simulated releases: the latents alone at first, then the facts too.

    Args:
        count: how many records there are to draw from.
        loss: of facts ``(B, outputs)`` claimed of the records at ``index`` ``(B,)``, a scalar.
        hunch: as of :class:`FactNetwork`.

    Returns:
        The network, ready to be asked, and the loss of the facts in the first and last tenth of
        their part.
    """

    def draw() -> tuple[Inputs, Tensor, Tensor]:
        index = torch.randint(0, task.records, (run.budget.batch_size,), generator=run.rng)
        inputs, release = releases.draw(index.tolist(), run.rng)
        return inputs, index, torch.cat([release.image_latents, release.condition_latents], 1)

    losses: list[float] = []
    iterations = max(2, run.budget.iterations)
    alone = int(LATENTS_ALONE * iterations)
    with torch.random.fork_rng(devices=[]):  # for the first weights and for dropout
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=run.rng)))
        network = FactNetwork(draw()[0], task, params).to(run.device).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=params.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, params.learning_rate, total_steps=iterations, pct_start=0.1
        )
        with run.progress.stage("training the attack", iterations) as advance:
            for step in range(iterations):
                inputs, index, truth = draw()
                if step < alone:
                    total = (network.latents(network.trunk.hidden(inputs)) - truth).abs().mean()
                else:
                    facts, latents = network(inputs)
                    fact_loss = task.loss(facts, index)
                    total = fact_loss + INVERSION_WEIGHT * (latents - truth).abs().mean()
                    losses.append(float(fact_loss.detach()))
                gradient_step(optimizer, total, LARGEST_NORM)
                schedule.step()
                advance(1)
    return network.eval(), first_and_last("attack_loss", losses)
