"""The feature-space hijacking server: pulls the client's features to where its own decoder reads pictures."""

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
    """How the server makes its pilot and inverse, before the client comes.

    Attributes:
        width: channels of the inverse, and of a pilot's inner layers.
        steps: on public pictures; batch_size: of a step; rate: learning rate.
    """

    width: int
    steps: int
    batch_size: int
    rate: float


@dataclass(frozen=True)
class CriticPlan:
    """How the server pulls the client.

    Attributes:
        width: channels of the critic; rate: its learning rate; steps: of it for each exchange.
        penalty: weight of its gradient penalty.
        horizon: exchanges over which the client's gradient fades out; 0 for one that never fades.
    """

    width: int
    rate: float
    steps: int
    penalty: float
    horizon: int


class Autoencoder(nn.Module):
    """Pilot (pictures to features of the client's shape) and inverse (back, in [0, 1]).

    Args:
        channels: of the client's features; stride: pixels of a cell of theirs.
        pilot: one, or how many convolutions one of its own is to have; a single one is linear.
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
    inner = [width] * (layers - 1)
    # Pixels of a cell side by side as channels: all work is done at the features' size.
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
    """Pilot and inverse, trained on public pictures alone; the same again from the same ``rng``.

    Args:
        pictures: conditions, ``(M, 3, H, W)`` in [0, 1].
        shape: of the client's features, ``(C, h, w)``.
        pilot: one that is given, and learns where its weights ask for gradients; or the
            convolutions of one of its own.
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
    """Feature-space hijacking (Pasquini et al., arXiv:2012.02670, section 3; critic as in
    arXiv:1704.00028).

    In every exchange the critic learns to tell the pilot's features from the client's, and the
    client is sent the critic's gradient as if it were its task's. The paper trains pilot and
    inverse meanwhile; here they are done before, since both see public pictures only, and can so be
    rebuilt from their seed.

    The gradient fades to nothing over ``plan.horizon`` exchanges. An adaptive optimiser's memory of
    past gradients is longer than that, so the client's steps fade with it, and it settles where it
    would circle for ever.

    Args:
        pictures: public pictures of what enters the client, ``(M, 3, H, W)`` in [0, 1].
        shape: of the client's features, ``(C, h, w)``; h and w at least 4.
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
        self._features: Tensor | None = (
            None  # of the step that goes on: u-shaped asks for their gradient later
        )

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
        # The client descends: away from what the critic takes for the client's, towards what it
        # takes for the pilot's.
        (gradient,) = torch.autograd.grad(-self._strength() * self._critic(private).mean(), private)
        self._exchanges += 1
        return {**honest, GRADIENT_DOWN: gradient.to(honest[GRADIENT_DOWN])}

    def _strength(self) -> float:
        """Of the gradient that goes down, in [0, 1]."""
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
    """A score for each picture's features ``(N, C, h, w)``, ``(N, 1)``.

    It knows where in the picture it looks. One that averages over places takes a client that turns
    dark to light for the pilot, since a constant on top makes up for the turn.
    """
    channels, height, breadth = shape
    return nn.Sequential(
        *(nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(width, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(width, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), nn.Linear(width * (height // 4) * (breadth // 4), 1)),
    )
