"""Trains a pseudo-client to send what the victim might have sent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from attacks.common.training import gradient_step
from attacks.learned.parts.discrepancy import Critic, cells, mmd, verdict
from attacks.learned.parts.pseudo_client_data import PseudoClientData
from bench.interfaces import Advance, Budget

CELLS = 256
"""Cells of each side in one step's discrepancy."""


@dataclass(frozen=True)
class MatchingObjective:
    """Terms of the pseudo-client's loss; terms of weight 0 are left out.

    Attributes:
        kernels: weight of the kernel discrepancy.
        critic: weight of the verdict of a critic of features.
        task: weight of the task's loss under a head that is trained on the victim's features.
        learning_rate: of the pseudo-client; it falls to 0.
        critic_rate: learning rate of the critic and the head.
        width: channels of the critic and the head.
    """

    kernels: float
    critic: float
    task: float
    learning_rate: float
    critic_rate: float
    width: int


class TaskHead(nn.Module):
    """Classes of feature maps, ``(B, K)``: the attacker's copy of the server's part."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(
                nn.Conv2d(channels, width, 3, 2, padding=1),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, 2, padding=1),
            ),
            *(nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, classes)),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(maps)
        return logits


def match_features(
    data: PseudoClientData,
    objective: MatchingObjective,
    budget: Budget,
    rng: torch.Generator,
    advance: Advance,
) -> list[float]:
    """Train the pseudo-client of ``data``, and return the kernel discrepancy by iteration."""
    victim = data.picture_part(rounds=20)
    mean, spread = victim.mean((0, 2, 3), keepdim=True), victim.std((0, 2, 3), keepdim=True)
    # Channels that are almost constant stay small, so that rounding noise is not matched.
    spread = spread.clamp_min(0.01 * float(spread.max()) + 1e-8)
    device, channels = data.observed.device, data.observed.shape[1]
    critic = Critic(channels, objective.width).to(device)
    labels, own = data.labels, data.picture_labels
    judged = objective.task > 0 and labels is not None and own is not None
    classes = 1 + max(int(t.max()) for t in (labels, own) if t is not None) if judged else 1
    head = TaskHead(channels, objective.width, classes).to(device)
    weights = [weight for weight in data.forward.stem.parameters() if weight.requires_grad]
    client_optimizer = torch.optim.Adam(weights, lr=objective.learning_rate, betas=(0.5, 0.99))
    critic_optimizer = torch.optim.Adam(
        [*critic.parameters(), *head.parameters()], lr=objective.critic_rate, betas=(0.5, 0.99)
    )
    losses: list[float] = []
    for iteration in range(budget.iterations):
        for group in client_optimizer.param_groups:
            group["lr"] = objective.learning_rate * (1 - iteration / budget.iterations)
        true_rows = torch.randint(0, len(victim), (budget.batch_size,), generator=rng)
        chosen = torch.randint(0, len(data.pictures), (budget.batch_size,), generator=rng)
        true = (victim[true_rows] - mean) / spread
        false = (data.send(chosen, rng) - mean) / spread
        if objective.critic or judged:
            critic_loss = verdict(critic(true), True) + verdict(critic(false.detach()), False)
            if judged and labels is not None:
                true_labels = labels[true_rows].to(device)
                critic_loss = critic_loss + functional.cross_entropy(head(true), true_labels)
            gradient_step(critic_optimizer, critic_loss)
        size = true.shape[0] * true.shape[2] * true.shape[3]
        places = torch.randint(0, size, (CELLS,), generator=rng).to(device)
        far = mmd(cells(false, places), cells(true, places))
        loss = objective.kernels * far
        if objective.critic:
            loss = loss + objective.critic * verdict(critic(false), True)
        if judged and own is not None:
            loss = loss + objective.task * functional.cross_entropy(
                head(false), own[chosen].to(device)
            )
        gradient_step(client_optimizer, loss)
        losses.append(float(far.detach()))
        advance(1)
    return losses
