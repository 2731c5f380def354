"""A network that reads facts off smashed data, with the help of public backbones."""

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
"""Weight of the latents' l1 distance beside the facts, so that the trunk keeps learning from it."""

LATENTS_ALONE = 0.75
"""Share of the training without facts: few labels are soon memorised, and decoding is slow."""


@dataclass(frozen=True, eq=False)
class FactTask:
    """The facts that a network learns to read.

    Attributes:
        records: how many records there are to draw from.
        outputs: numbers per record.
        loss: a scalar of the facts ``(B, outputs)`` claimed for the records at an index ``(B,)``.
        picture_facts: facts ``(B, outputs)`` that a public backbone reads off the picture of
            latents ``(B, 4, h, w)``; the network learns a correction to them. None starts from
            nothing.
    """

    records: int
    outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]
    picture_facts: Callable[[Tensor], Tensor] | None = None


class FactParams(Params):
    """Parameters of attacks that read facts off releases.

    Attributes:
        through: name of an attack whose picture is judged instead of the smashed data; empty for
            none.
        width: channels of the network.
        depth: residual blocks.
        learning_rate: peak of a one-cycle schedule, AdamW.
        backbone: correct what the public backbone reads off the estimated picture, instead of
            starting from nothing.
        mirror: train on mirrored auxiliary records too.
    """

    through: str = ""
    width: int = Field(default=64, ge=8)
    depth: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    backbone: bool = True
    mirror: bool = True


class FactNetwork(nn.Module):
    """The trunk of an inverse network, strided convolutions down to 4x4, and a hidden layer.

    Args:
        example: a batch of inputs that sets the scales.
        task: the facts to read.
        params: size of the network.
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
        """Return z0 and z_c side by side, ``(B, 8, h, w)``."""
        return torch.cat([head(hidden) for head in self.trunk.heads], 1)

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return facts ``(B, outputs)``, and the latents."""
        hidden = self.trunk.hidden(inputs)
        latents = self.latents(hidden)
        facts = self.head(self.down(torch.cat([hidden, latents], 1)))
        if self._picture_facts is not None:
            facts = facts + self._picture_facts(latents[:, :4].detach())
        return facts, latents


def train_fact_network(
    releases: SimulatedReleases, task: FactTask, params: FactParams, run: AttackRun
) -> tuple[FactNetwork, dict[str, float]]:
    """Train a network on simulated releases: on the latents alone at first, then on the facts too.

    Args:
        releases: simulated releases of the records.
        task: the facts to read.
        params: size of the network and its learning rate.
        run: generator, budget, device and progress.

    Returns:
        The network in evaluation mode, and the loss of the facts in the first and last tenth of
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
