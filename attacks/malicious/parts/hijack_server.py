"""The server of feature-space hijacking: a pilot, its inverse, and a critic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from attacks.common.training import gradient_step
from bench.interfaces import CONTROL_FEATURES, GRADIENT_DOWN, Channel, Progress, ServerAdversary


@dataclass(frozen=True)
class DecoderPlan:
    """Settings by which the server trains pilot and inverse before the client's training.

    Attributes:
        width: channels of the inverse, and of a pilot's inner layers.
        steps: optimiser steps on public pictures.
        batch_size: pictures per step.
        rate: learning rate.
    """

    width: int
    steps: int
    batch_size: int
    rate: float


@dataclass(frozen=True)
class CriticPlan:
    """Settings by which the server trains the critic and the client.

    Attributes:
        width: channels of the critic.
        rate: learning rate of the critic.
        steps: optimiser steps of the critic per exchange.
        penalty: weight of the critic's gradient penalty.
        horizon: exchanges over which the client's gradient fades out; 0 for a gradient that never
            fades.
    """

    width: int
    rate: float
    steps: int
    penalty: float
    horizon: int


class Autoencoder(nn.Module):
    """Pilot (pictures to features of the client's shape) and inverse (features to [0, 1]).

    Args:
        channels: of the client's features.
        stride: pixels per cell of the features.
        width: channels of the inverse.
        pilot: a network, or the number of convolutions of a new one; a single one is linear.
    """

    def __init__(self, channels: int, stride: int, width: int, pilot: nn.Module | int) -> None:
        super().__init__()
        self.pilot = _pilot(channels, stride, width, pilot) if isinstance(pilot, int) else pilot
        self.inverse = nn.Sequential(
            *(
                nn.Conv2d(channels, width, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.SiLU(),
            ),
            *(nn.Conv2d(width, 3 * stride**2, 3, padding=1), nn.PixelShuffle(stride), nn.Sigmoid()),
        )


def _pilot(channels: int, stride: int, width: int, layers: int) -> nn.Sequential:
    """Return a new pilot with this many convolutions."""
    inner = [width] * (layers - 1)
    # The pixels of a cell become channels, so that all layers work at the features' size.
    parts: list[nn.Module] = [nn.PixelUnshuffle(stride)]
    for entering, leaving in pairwise([3 * stride**2, *inner, channels]):
        parts += [nn.Conv2d(entering, leaving, 3, padding=1), nn.SiLU()]
    return nn.Sequential(*parts[:-1])


def train_autoencoder(
    pictures: Tensor,
    shape: tuple[int, ...],
    plan: DecoderPlan,
    rng: torch.Generator,
    device: str,
    progress: Progress,
    pilot: nn.Module | int,
) -> Autoencoder:
    """Train pilot and inverse on public pictures; an ``rng`` of equal state gives equal networks.

    Args:
        pictures: conditions, ``(M, 3, H, W)`` in [0, 1].
        shape: of the client's features, ``(C, h, w)``.
        plan: sizes and steps.
        rng: draws weights and batches.
        device: where to compute.
        progress: where the stage is reported.
        pilot: a network, which is trained where its weights require gradients, or the number of
            convolutions of a new one.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=rng)))
        networks = Autoencoder(shape[0], pictures.shape[-1] // shape[-1], plan.width, pilot).to(
            device
        )
    optimizer = torch.optim.Adam(
        [w for w in networks.parameters() if w.requires_grad], lr=plan.rate
    )
    with progress.stage("training the pilot", plan.steps) as advance:
        for _ in range(plan.steps):
            rows = torch.randint(len(pictures), (plan.batch_size,), generator=rng)
            batch = pictures[rows].to(device)
            loss = (networks.inverse(networks.pilot(batch)) - batch).square().mean()
            gradient_step(optimizer, loss)
            advance(1)
    return networks.requires_grad_(False)


class HijackServer(ServerAdversary):
    """Feature-space hijacking (Pasquini et al., arXiv:2012.02670, section 3).

    In every exchange the critic learns to distinguish the pilot's features from the client's (with
    the gradient penalty of arXiv:1704.00028), and the client is sent the critic's gradient instead
    of its task's. The paper trains pilot and inverse meanwhile. Here they are trained before,
    because both see public pictures only, and can so be rebuilt from their seed.

    The gradient fades to zero over ``plan.horizon`` exchanges. An adaptive optimiser remembers
    gradients for longer than that, so the client's steps fade with it and the client converges
    where it would otherwise oscillate.

    Args:
        pilot: maps pictures to the features that are wanted.
        pictures: public pictures of what enters the client, ``(M, 3, H, W)`` in [0, 1].
        shape: of the client's features, ``(C, h, w)``; h and w at least 4.
        plan: how to train the critic and the client.
        rng: draws weights and batches.
    """

    def __init__(
        self,
        pilot: nn.Module,
        pictures: Tensor,
        shape: tuple[int, ...],
        plan: CriticPlan,
        rng: torch.Generator,
    ) -> None:
        self._pictures, self._plan, self._rng, self._pilot = pictures, plan, rng, pilot
        self._device = next(pilot.parameters()).device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=rng)))
            self._critic = critic(shape, plan.width).to(self._device)
        self._optimizer = torch.optim.Adam(
            self._critic.parameters(), lr=plan.rate, betas=(0.0, 0.9)
        )
        self._exchanges = 0
        # Features of the present step; the u-shaped protocol asks for their gradient later.
        self._features: Tensor | None = None

    def answer(
        self, sent: Mapping[Channel, Tensor], honest: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        if CONTROL_FEATURES in sent:
            self._features = sent[CONTROL_FEATURES].float().to(self._device)
        if GRADIENT_DOWN not in honest or self._features is None:
            return honest
        for _ in range(self._plan.steps):
            self._critic_step(self._features)
        private = self._features.clone().requires_grad_(True)
        # The client descends: its features move to what the critic takes for the pilot's.
        (gradient,) = torch.autograd.grad(-self._strength() * self._critic(private).mean(), private)
        self._exchanges += 1
        return {**honest, GRADIENT_DOWN: gradient.to(honest[GRADIENT_DOWN])}

    def _strength(self) -> float:
        """Return the factor of the gradient that is sent, in [0, 1]."""
        if not self._plan.horizon:
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, self._exchanges / self._plan.horizon)))

    def _critic_step(self, private: Tensor) -> None:
        chosen = torch.randint(len(self._pictures), (len(private),), generator=self._rng)
        pilot = self._pilot(self._pictures[chosen].to(self._device))
        mix = torch.rand(len(private), 1, 1, 1, generator=self._rng).to(self._device)
        between = (mix * pilot + (1 - mix) * private).requires_grad_(True)
        (slope,) = torch.autograd.grad(self._critic(between).sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        loss = (
            self._critic(private).mean() - self._critic(pilot).mean() + self._plan.penalty * penalty
        )
        gradient_step(self._optimizer, loss)


def critic(shape: tuple[int, ...], width: int) -> nn.Module:
    """Return a network that scores each picture's features ``(N, C, h, w)``, ``(N, 1)``.

    The score depends on the place in the picture. A critic that averages over places would accept a
    client that exchanges dark and light, because a constant on top compensates for the exchange.
    """
    channels, height, breadth = shape
    return nn.Sequential(
        *(nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(width, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(width, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), nn.Linear(width * (height // 4) * (breadth // 4), 1)),
    )
