"""The feature-space hijacking server: pulls the client's features to where its own decoder reads pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.adversary import ServerAdversary
from bench.channels import CONTROL_FEATURES, GRADIENT_DOWN, Channel
from bench.progress import Progress


@dataclass(frozen=True)
class HijackPlan:
    """How the server trains.

    Attributes:
        width: channels of its networks.
        pilot_steps: of pilot and inverse, before the client comes; batch_size: public pictures a step.
        pilot_rate, critic_rate: learning rates.
        critic_steps: of the critic for each exchange.
        penalty: weight of the critic's gradient penalty.
    """

    width: int
    pilot_steps: int
    batch_size: int
    pilot_rate: float
    critic_rate: float
    critic_steps: int
    penalty: float


class Autoencoder(nn.Module):
    """Pilot (pictures to features of the client's shape) and inverse (back, in [0, 1]).

    Args:
        channels: of the client's features; stride: pixels of a cell of theirs.
        pilot: one that is given, and not trained; None is one of its own.
    """

    def __init__(self, channels: int, stride: int, width: int, pilot: nn.Module | None = None) -> None:
        super().__init__()
        self.channels = channels
        # Pixels of a cell side by side as channels: all work is done at the features' size.
        self.pilot = pilot or nn.Sequential(
            *(nn.PixelUnshuffle(stride), nn.Conv2d(3 * stride**2, width, 3, padding=1), nn.SiLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)),
        )
        self.inverse = nn.Sequential(
            *(nn.Conv2d(channels, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU()),
            *(nn.Conv2d(width, 3 * stride**2, 3, padding=1), nn.PixelShuffle(stride), nn.Sigmoid()),
        )


def train_autoencoder(
    pictures: Tensor,
    shape: tuple[int, ...],
    plan: HijackPlan,
    rng: torch.Generator,
    device: str,
    progress: Progress,
    pilot: nn.Module | None = None,
) -> Autoencoder:
    """Pilot and inverse, trained on public pictures alone; the same again from the same ``rng``.

    Args:
        pictures: conditions, ``(M, 3, H, W)`` in [0, 1].
        shape: of the client's features, ``(C, h, w)``.
        pilot: one that stays as it is, so that the inverse alone is trained; None is one of its own.
    """
    if pilot is not None:
        pilot.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=rng)))
        networks = Autoencoder(shape[0], pictures.shape[-1] // shape[-1], plan.width, pilot).to(device)
    optimizer = torch.optim.Adam([w for w in networks.parameters() if w.requires_grad], lr=plan.pilot_rate)
    with progress.stage("training the pilot", plan.pilot_steps) as advance:
        for _ in range(plan.pilot_steps):
            found = pictures[torch.randint(len(pictures), (plan.batch_size,), generator=rng)].to(device)
            loss = (networks.inverse(networks.pilot(found)) - found).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            advance(1)
    return networks.requires_grad_(False)


class HijackServer(ServerAdversary):
    """Feature-space hijacking (Pasquini et al., arXiv:2012.02670, section 3; critic as in arXiv:1704.00028).

    In every exchange the critic learns to tell the pilot's features from the client's, and the client is sent the
    critic's gradient as if it were its task's. The paper trains pilot and inverse meanwhile; here they are done
    before, since both see public pictures only, and can so be rebuilt from their seed.

    Args:
        pictures: public condition pictures, ``(M, 3, H, W)`` in [0, 1].
    """

    def __init__(self, networks: Autoencoder, pictures: Tensor, plan: HijackPlan, rng: torch.Generator) -> None:
        self._pictures, self._plan, self._rng = pictures, plan, rng
        first = next(networks.parameters())
        self._device, self._pilot = first.device, networks.pilot
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=rng)))
            self._critic = critic(networks.channels, plan.width).to(self._device)
        self._optimizer = torch.optim.Adam(self._critic.parameters(), lr=plan.critic_rate, betas=(0.0, 0.9))
        self._features: Tensor | None = None  # of the step that goes on: u-shaped asks for their gradient later

    def answer(self, sent: Mapping[Channel, Tensor], honest: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if CONTROL_FEATURES in sent:
            self._features = sent[CONTROL_FEATURES].float().to(self._device)
        if GRADIENT_DOWN not in honest or self._features is None:
            return honest
        for _ in range(self._plan.critic_steps):
            self._critic_step(self._features)
        private = self._features.clone().requires_grad_(True)
        # The client descends: away from what the critic takes for the client's, towards what it takes for the pilot's.
        (gradient,) = torch.autograd.grad(-self._critic(private).mean(), private)
        return {**honest, GRADIENT_DOWN: gradient.to(honest[GRADIENT_DOWN])}

    def _critic_step(self, private: Tensor) -> None:
        chosen = torch.randint(len(self._pictures), (len(private),), generator=self._rng)
        pilot = self._pilot(self._pictures[chosen].to(self._device))
        mix = torch.rand(len(private), 1, 1, 1, generator=self._rng).to(self._device)
        between = (mix * pilot + (1 - mix) * private).requires_grad_(True)
        (slope,) = torch.autograd.grad(self._critic(between).sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        loss = self._critic(private).mean() - self._critic(pilot).mean() + self._plan.penalty * penalty
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()


def critic(channels: int, width: int) -> nn.Module:
    """A score for each picture's features ``(N, C, h, w)``, ``(N, 1)``."""
    return nn.Sequential(
        *(nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(width, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(width, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1)),
    )
