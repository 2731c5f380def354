"""Trains an inverse network on simulated releases, and finds out how, on records kept back for that."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.learned.parts.inverse_network import InverseNetwork
from attacks.learned.parts.simulated_releases import Inputs, SimulatedReleases
from attacks.learned.parts.successive_halving import halve, rungs
from bench.interfaces import Advance, Budget, Progress

KEPT_BACK = 8
"""One of so many records judges the candidates; the winner learns from all."""
JUDGED = 64
"""Releases of those records by which candidates are judged, the same for all."""
LOSERS = 0.15
"""Share of the budget that may go into candidates that are not chosen."""
LOW, RISE = 1 / 25, 0.1
"""Where the learning rate starts, as a share of its peak, and the share of the training in which it rises."""
MOMENTUM = (0.95, 0.85)

Exam = tuple[Inputs, tuple[Tensor, Tensor]]
Extra = Callable[[InverseNetwork], Tensor]
"""A further loss of the network, a scalar, asked for in every step."""


@dataclass(frozen=True)
class InverseSetting:
    """What candidates differ in."""

    learning_rate: float
    width: int
    depth: int


class InverseTraining:
    """An inverse network on its way, on the schedule of the winner's whole training.

    Attributes:
        indices: records that it may draw from.
        losses: l1 distance of both latents, by iteration.
    """

    def __init__(
        self,
        lessons: SimulatedReleases,
        setting: InverseSetting,
        indices: Sequence[int],
        total: int,
        *,
        batch_size: int,
        device: str,
        rng: torch.Generator,
        advance: Advance,
        extra: Extra | None = None,
    ) -> None:
        self._extra = extra
        self.setting, self.indices, self.losses = setting, list(indices), list[float]()
        self._lessons, self._total, self._batch, self._rng, self._advance = (
            lessons,
            total,
            batch_size,
            rng,
            advance,
        )
        example, (latents, _) = draw(lessons, self.indices, batch_size, rng)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=rng)))
            network = InverseNetwork(
                example, setting.width, setting.depth, tuple(latents.shape[2:])
            )
        self.network = network.to(device).train()
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=setting.learning_rate, fused=True
        )

    def train(self, iterations: int) -> None:
        """So many optimiser steps more."""
        for _ in range(iterations):
            inputs, truth = draw(self._lessons, self.indices, self._batch, self._rng)
            loss = distance(self.network(inputs), truth)
            self.losses.append(float(loss.detach()))
            if self._extra is not None:
                loss = loss + self._extra(self.network)
            rate, momentum = one_cycle(len(self.losses) - 1, self._total)
            for group in self._optimizer.param_groups:
                group["lr"], group["betas"] = self.setting.learning_rate * rate, (momentum, 0.999)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self._optimizer.step()
            self._advance(1)

    @torch.no_grad()
    def fails(self, exam: Exam) -> float:
        """Its loss on releases that it did not learn from."""
        inputs, truth = exam
        return float(distance(self.network(inputs), truth))


def train_inverse_network(
    lessons: SimulatedReleases,
    settings: Sequence[InverseSetting],
    groups: Sequence[Sequence[int]],
    *,
    budget: Budget,
    device: str,
    rng: torch.Generator,
    progress: Progress,
    extra: Extra | None = None,
) -> InverseTraining:
    """The best candidate, trained to the end of the budget; one candidate is simply trained.

    Args:
        groups: records by identity, so that none is both learned from and judged by.
        extra: loss that is added to the distance of latents.
    """
    everyone = sorted(i for group in groups for i in group)
    kept, count = [], 0
    for group in groups:
        if count * KEPT_BACK < len(everyone) and len(kept) + 1 < len(groups):
            kept.append(group)
            count += len(group)
    if not kept:
        settings = settings[:1]
    total = max(1, budget.iterations)
    portion, own = rungs(len(settings), total, LOSERS)
    if not portion:
        settings, own = settings[:1], total
    others = everyone if len(settings) == 1 else [i for group in groups[len(kept) :] for i in group]
    with progress.stage("training the attack", total) as advance:
        candidates = [
            InverseTraining(
                *(lessons, s, others, own),
                batch_size=budget.batch_size,
                device=device,
                rng=rng,
                advance=advance,
                extra=extra,
            )
            for s in settings
        ]
        winner = candidates[0]
        if len(candidates) > 1:
            exam = draw(lessons, [i for group in kept for i in group], JUDGED, rng)
            winner = halve(candidates, portion, lambda candidate: candidate.fails(exam))
            winner.indices = everyone
        winner.train(own - len(winner.losses))
    return winner


def draw(
    lessons: SimulatedReleases, indices: Sequence[int], size: int, rng: torch.Generator
) -> Exam:
    """Fresh releases of records drawn from ``indices``, and their z0 and z_c."""
    places = torch.randint(0, len(indices), (size,), generator=rng).tolist()
    inputs, release = lessons.draw([indices[i] for i in places], rng)
    return inputs, (release.image_latents, release.condition_latents)


def distance(guess: tuple[Tensor, Tensor], truth: tuple[Tensor, Tensor]) -> Tensor:
    """Mean absolute error of z0 and of z_c, added; a scalar."""
    return torch.stack([(g - z).abs().mean() for g, z in zip(guess, truth, strict=True)]).sum()


def one_cycle(step: int, total: int) -> tuple[float, float]:
    """Share of the peak learning rate, and Adam's first beta, in step ``step`` of ``total``.

    A cosine up from 1/25, then down to next to 0, with the momentum the other way round (Smith,
    arXiv:1803.09820): as torch's ``OneCycleLR``, which cannot be stopped and gone on with
    elsewhere.
    """
    peak, end = RISE * total - 1, total - 1
    if step <= peak:
        return _between(LOW, 1.0, step / peak), _between(*MOMENTUM, step / peak)
    done = (step - peak) / (end - peak)
    return _between(1.0, LOW / 1e4, done), _between(*reversed(MOMENTUM), done)


def _between(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))
