"""Teaches a pseudo-client to send what the victim might have sent (METHODS 3.8)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from attacks.learned.parts.discrepancy import Critic, cells, mmd, step, verdict
from attacks.learned.parts.pseudo_client_data import PseudoClientData
from bench.interfaces import Advance, Budget

CELLS = 256
"""Cells of each side in a step's discrepancy."""


@dataclass(frozen=True)
class MatchingObjective:
    """What the pseudo-client is train_inverse_network for; terms of weight 0 are left out.

    Attributes:
        kernels: weight of the discrepancy of kernels.
        critic: weight of the verdict of a critic of features.
        task: weight of the task's loss under a head that was trained on the victim's features.
        learning_rate: of the pseudo-client; it falls to 0.
        critic_rate: of the critic and the head.
    """

    kernels: float
    critic: float
    task: float
    learning_rate: float
    critic_rate: float
    width: int


class TaskHead(nn.Module):
    """Classes of feature maps, ``(B, K)``: the attacker's own copy of the server's part."""

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
        found: torch.Tensor = self.layers(maps)
        return found


def match_features(
    scene: PseudoClientData,
    objective: MatchingObjective,
    budget: Budget,
    rng: torch.Generator,
    advance: Advance,
) -> list[float]:
    """Teach ``scene.forward``; the discrepancy of kernels by iteration."""
    rest = scene.rest(rounds=20)
    mean, spread = rest.mean((0, 2, 3), keepdim=True), rest.std((0, 2, 3), keepdim=True)
    # Channels that tell nothing stay small: noise of the last digit is not to be matched.
    spread = spread.clamp_min(0.01 * float(spread.max()) + 1e-8)
    device, channels = scene.observed.device, scene.observed.shape[1]
    critic = Critic(channels, objective.width).to(device)
    labels, own = scene.labels, scene.own
    judged = objective.task > 0 and labels is not None and own is not None
    classes = 1 + max(int(t.max()) for t in (labels, own) if t is not None) if judged else 1
    head = TaskHead(channels, objective.width, classes).to(device)
    weights = [weight for weight in scene.forward.stem.parameters() if weight.requires_grad]
    mine = torch.optim.Adam(weights, lr=objective.learning_rate, betas=(0.5, 0.99))
    judge = torch.optim.Adam(
        [*critic.parameters(), *head.parameters()], lr=objective.critic_rate, betas=(0.5, 0.99)
    )
    losses: list[float] = []
    for iteration in range(budget.iterations):
        for group in mine.param_groups:
            group["lr"] = objective.learning_rate * (1 - iteration / budget.iterations)
        true_rows = torch.randint(0, len(rest), (budget.batch_size,), generator=rng)
        chosen = torch.randint(0, len(scene.pictures), (budget.batch_size,), generator=rng)
        true = (rest[true_rows] - mean) / spread
        false = (scene.send(chosen, rng) - mean) / spread
        if objective.critic or judged:
            lesson = verdict(critic(true), True) + verdict(critic(false.detach()), False)
            if judged and labels is not None:
                lesson = lesson + functional.cross_entropy(head(true), labels[true_rows].to(device))
            step(judge, lesson)
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
        step(mine, loss)
        losses.append(float(far.detach()))
        advance(1)
    return losses
