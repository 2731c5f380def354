"""Teaches a pseudo client and a decoder of its features (METHODS 3.8)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.inverse_network import InverseNetwork
from attacks.inverse_training import distance
from attacks.pseudo_networks import Critic, PseudoHint, mmd, pooled
from attacks.smashed import Inputs
from bench.channels import NOISE_TARGET, TIMESTEP, UNET_FEATURES, Channel
from bench.progress import Advance
from bench.public import Emission, Simulator


@dataclass(frozen=True)
class Objective:
    """What the two networks are taught for.

    Attributes:
        mix: share of the MMD in the pseudo client's loss; the critic has the rest.
        adversarial: weight of a second critic's verdict on what is decoded of the victim's features.
    """

    mix: float
    adversarial: float
    learning_rate: float


@dataclass(frozen=True, eq=False)
class Seen:
    """The victim's releases: its hint block's share of the features, scaled by channel, and the other maps.

    Attributes:
        hint: ``(R, C, h, w)``.
        maps: by channel, ``(R, ., h, w)``; the decoder takes them too.
        time: ``(R,)``, or None.
    """

    hint: Tensor
    maps: dict[Channel, Tensor]
    time: Tensor | None

    def take(self, index: Tensor | list[int]) -> Inputs:
        """What the decoder gets of these releases."""
        maps = torch.cat([self.hint[index], *(m[index] for m in self.maps.values())], 1)
        return Inputs(maps, None if self.time is None else self.time[index])


@dataclass(frozen=True, eq=False)
class Lab:
    """The attacker's own client: simulated frozen parts and a hint block in training."""

    simulator: Simulator
    conditions: Tensor
    hint: PseudoHint
    seen: Seen
    batch_size: int
    rng: torch.Generator
    losses: dict[str, list[float]] = field(default_factory=dict)

    def pseudo(self) -> tuple[Tensor, list[int]]:
        """Features of auxiliary conditions, ``(B, C, h, w)``, and which."""
        index = torch.randint(0, len(self.conditions), (self.batch_size,), generator=self.rng)
        return self.hint(self.conditions[index].to(self.seen.hint.device)), index.tolist()

    def true(self) -> Tensor:
        """As many of the victim's releases, by number."""
        return torch.randint(0, len(self.seen.hint), (self.batch_size,), generator=self.rng)

    def note(self, name: str, loss: Tensor) -> None:
        """Keep a loss for the diagnostics."""
        self.losses.setdefault(name, []).append(float(loss.detach()))


def match(lab: Lab, objective: Objective, width: int, iterations: int, advance: Advance) -> None:
    """Teach the hint block to be told from the victim's by nobody."""
    critic = Critic(lab.seen.hint.shape[1], width).to(lab.seen.hint.device)
    mine, judge = optimiser(lab.hint, objective.learning_rate), optimiser(critic, objective.learning_rate)
    for _ in range(iterations):
        false, true = lab.pseudo()[0], lab.seen.hint[lab.true()]
        step(judge, verdict(critic(true), True) + verdict(critic(false.detach()), False))
        loss = (1 - objective.mix) * verdict(critic(false), True)
        if objective.mix:
            loss = loss + objective.mix * mmd(pooled(false), pooled(true))
        step(mine, loss)
        lab.note("match", mmd(pooled(false.detach()), pooled(true)))
        advance(1)


def decode(lab: Lab, objective: Objective, width: int, iterations: int, advance: Advance) -> InverseNetwork:
    """Teach an inverse network of the pseudo client's releases."""
    network = InverseNetwork(_release(lab)[0], width, 2).to(lab.seen.hint.device)
    critic = Critic(8, width).to(lab.seen.hint.device)
    mine, judge = optimiser(network, objective.learning_rate), optimiser(critic, objective.learning_rate)
    for _ in range(iterations):
        inputs, release = _release(lab)
        truth = (release.image_latents, release.condition_latents)
        loss = distance(network(inputs), truth)
        lab.note("decode", loss)
        if objective.adversarial:
            decoded = torch.cat(network(lab.seen.take(lab.true())), 1)
            step(judge, verdict(critic(torch.cat(truth, 1)), True) + verdict(critic(decoded.detach()), False))
            loss = loss + objective.adversarial * verdict(critic(decoded), True)
        step(mine, loss)
        advance(1)
    return network.eval()


def _release(lab: Lab) -> tuple[Inputs, Emission]:
    """A simulated release in the shape of the victim's, the hint block's share from the pseudo client."""
    with torch.no_grad():
        hint, index = lab.pseudo()
    release = lab.simulator.emit(index, lab.rng)
    maps = torch.cat([hint, *(release.sent[c].float() for c in lab.seen.maps)], 1)
    return Inputs(maps, None if lab.seen.time is None else release.sent[TIMESTEP]), release


def verdict(logits: Tensor, real: bool) -> Tensor:
    """Cross-entropy of a critic's logits with what they should be."""
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def optimiser(network: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.5, 0.99))


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


OTHERS = (UNET_FEATURES, NOISE_TARGET)
"""Maps that are as public code makes them, whatever the hint block has learned."""
