"""Training of an inverse network on simulated releases, with a choice among settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.common.attack_run import AttackRun
from attacks.common.training import gradient_step
from attacks.learned.parts.inverse_network import InverseNetwork
from attacks.learned.parts.simulated_releases import Inputs, SimulatedReleases
from attacks.learned.parts.successive_halving import halve, rungs
from bench.interfaces import Advance, Codec, Estimate

KEPT_BACK = 8
"""One in this many records is kept back to judge the candidates; the winner is trained on all."""
JUDGED = 64
"""Releases of the records kept back by which candidates are judged, equal for all candidates."""
LOSERS = 0.15
"""Share of the budget that may go into candidates that are not chosen."""
LOW = 1 / 25
"""First learning rate as a share of its peak."""
RISE = 0.1
"""Share of the training in which the learning rate rises."""
MOMENTUM = (0.95, 0.85)
"""Largest and least first beta of Adam; it moves opposite to the learning rate."""
LARGEST_NORM = 1.0
"""Norm to which the gradient of all weights together is clipped."""

Examples = tuple[Inputs, tuple[Tensor, Tensor]]
"""Inputs of a network, and the z0 and z_c behind them."""
ExtraLoss = Callable[[InverseNetwork], Tensor]
"""A further loss of the network, a scalar, computed in every step."""


@dataclass(frozen=True)
class InverseSetting:
    """Size and learning rate of one candidate of a sweep."""

    learning_rate: float
    width: int
    depth: int


class InverseTraining:
    """An inverse network in training, on the learning-rate schedule of a whole training.

    Args:
        releases: simulated releases of the attacker's records.
        setting: size and learning rate.
        indices: records to draw from.
        total: iterations of the whole training.
        run: generator, budget and device.
        advance: called with 1 after each iteration.
        extra: loss that is added to the distance of latents.

    Attributes:
        setting: size and learning rate.
        indices: records to draw from.
        losses: l1 distance of both latents, by iteration.
        network: the network.
    """

    def __init__(
        self,
        releases: SimulatedReleases,
        setting: InverseSetting,
        indices: Sequence[int],
        total: int,
        run: AttackRun,
        advance: Advance,
        extra: ExtraLoss | None = None,
    ) -> None:
        self.setting, self.indices, self.losses = setting, list(indices), list[float]()
        self._releases, self._total, self._run = releases, total, run
        self._advance, self._extra = advance, extra
        example, (latents, _) = draw(releases, self.indices, run.budget.batch_size, run.rng)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=run.rng)))
            network = InverseNetwork(
                example, setting.width, setting.depth, tuple(latents.shape[2:])
            )
        self.network = network.to(run.device).train()
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=setting.learning_rate, fused=True
        )

    def train(self, iterations: int) -> None:
        """Take this many further optimiser steps."""
        for _ in range(iterations):
            inputs, truth = draw(
                self._releases, self.indices, self._run.budget.batch_size, self._run.rng
            )
            loss = distance(self.network(inputs), truth)
            self.losses.append(float(loss.detach()))
            if self._extra is not None:
                loss = loss + self._extra(self.network)
            rate, momentum = one_cycle(len(self.losses) - 1, self._total)
            for group in self._optimizer.param_groups:
                group["lr"], group["betas"] = self.setting.learning_rate * rate, (momentum, 0.999)
            gradient_step(self._optimizer, loss, LARGEST_NORM)
            self._advance(1)

    @torch.no_grad()
    def validation_loss(self, examples: Examples) -> float:
        """Return the loss on releases that the network was not trained on."""
        inputs, truth = examples
        return float(distance(self.network(inputs), truth))

    @torch.no_grad()
    def estimates(self, inputs: Inputs, codec: Codec) -> dict[str, Estimate]:
        """Return the image and the condition that the network finds behind ``inputs``."""
        latents = self.network.eval()(inputs)
        names = ("image", "condition")
        return {name: codec.estimate(z) for name, z in zip(names, latents, strict=True)}


def train_inverse_network(
    releases: SimulatedReleases,
    settings: Sequence[InverseSetting],
    groups: Sequence[Sequence[int]],
    run: AttackRun,
    extra: ExtraLoss | None = None,
) -> InverseTraining:
    """Return the best candidate, trained to the end of the budget.

    A single candidate is trained without validation.

    Args:
        releases: simulated releases of the attacker's records.
        settings: candidates.
        groups: records by identity, so that no identity is both trained on and used for validation.
        run: generator, budget, device and progress.
        extra: loss that is added to the distance of latents.
    """
    everything = sorted(i for group in groups for i in group)
    validation: list[int] = []
    judges = 0  # groups of the validation records, which come first
    while len(validation) * KEPT_BACK < len(everything) and judges + 1 < len(groups):
        validation += groups[judges]
        judges += 1
    if not validation:
        settings = settings[:1]
    total = max(1, run.budget.iterations)
    portion, longest = rungs(len(settings), total, LOSERS)
    if not portion:
        settings, longest = settings[:1], total
    trained_on = everything
    if len(settings) > 1:
        trained_on = [i for group in groups[judges:] for i in group]
    with run.progress.stage("training the attack", total) as advance:
        candidates = [
            InverseTraining(releases, setting, trained_on, longest, run, advance, extra)
            for setting in settings
        ]
        winner = candidates[0]
        if len(candidates) > 1:
            examples = draw(releases, validation, JUDGED, run.rng)
            winner = halve(candidates, portion, lambda each: each.validation_loss(examples))
            winner.indices = everything
        winner.train(longest - len(winner.losses))
    return winner


def draw(
    releases: SimulatedReleases, indices: Sequence[int], size: int, rng: torch.Generator
) -> Examples:
    """Return fresh releases of records drawn from ``indices``, with their z0 and z_c."""
    places = torch.randint(0, len(indices), (size,), generator=rng).tolist()
    inputs, release = releases.draw([indices[i] for i in places], rng)
    return inputs, (release.image_latents, release.condition_latents)


def distance(guess: tuple[Tensor, Tensor], truth: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean absolute error of z0 plus that of z_c, a scalar."""
    return torch.stack([(g - z).abs().mean() for g, z in zip(guess, truth, strict=True)]).sum()


def one_cycle(step: int, total: int) -> tuple[float, float]:
    """Return the share of the peak learning rate, and Adam's first beta, in one step of many.

    The rate follows a cosine up from 1/25 and then down to almost 0; the momentum moves the other
    way (Smith, arXiv:1803.09820). The values are those of torch's ``OneCycleLR`` up to rounding.
    This function has no state, so a training can be stopped and continued.

    Args:
        step: number of the step, from 0.
        total: number of steps.
    """
    peak, end = RISE * total - 1, total - 1
    high, low = MOMENTUM
    if step <= peak:
        return _between(LOW, 1.0, step / peak), _between(high, low, step / peak)
    done = (step - peak) / (end - peak)
    return _between(1.0, LOW / 1e4, done), _between(low, high, done)


def _between(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))
