"""Simulated outputs of a hint block during its training, and a network that decodes them."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.common.training import gradient_step
from attacks.hints.parts.client_replay import WeightPath, hint_part
from attacks.learned.parts.inverse_network import InverseNetwork
from attacks.learned.parts.inverse_training import LARGEST_NORM, one_cycle
from attacks.learned.parts.simulated_releases import Inputs
from bench.interfaces import Advance, Codec, PublicForward, Records

_MEASURED = 96
"""Auxiliary conditions from which mean and spread of a step's hint parts are measured."""
_FIRST = 64
"""Number of these conditions by which the network sets its scales."""


class SimulatedHints:
    """Hint parts of auxiliary conditions under the weights of one step, drawn anew for each batch.

    Mean and spread of the step are removed, so that hint parts of all steps are comparable.

    Args:
        forward: the client as a function of its inputs.
        path: the client's weights by step.
        records: the attacker's records.
        codec: the public autoencoder.
        device: where to compute.
        compared: also subtract a random share of the batch's mean, which a comparison within a step
            loses.

    Attributes:
        means: by step, ``(1, C, h, w)``.
        spreads: by step.
    """

    def __init__(
        self,
        forward: PublicForward,
        path: WeightPath,
        records: Records,
        codec: Codec,
        device: str,
        *,
        compared: bool,
    ) -> None:
        self._forward, self._path, self._device, self._compared = forward, path, device, compared
        pictures = records.condition_batch()
        self._conditions, self._latents = pictures.pixels, codec.encode(pictures)
        self.means: dict[int, Tensor] = {}
        self.spreads: dict[int, float] = {}
        for step in path.at:
            parts = self._parts(step, self._conditions[:_MEASURED])
            self.means[step] = parts.mean(0, keepdim=True)
            self.spreads[step] = max(float((parts - self.means[step]).std()), 1e-12)

    def draw(self, size: int, rng: torch.Generator) -> tuple[Inputs, Tensor]:
        """Return hint parts of ``size`` records, and their z_c ``(size, 4, h, w)``."""
        steps = list(self.means)
        step = steps[int(torch.randint(len(steps), (1,), generator=rng))]
        rows = torch.randint(len(self._conditions), (size,), generator=rng)
        off = self._parts(step, self._conditions[rows]) - self.means[step]
        if self._compared:
            off = off - float(torch.rand(1, generator=rng)) * off.mean(0)
        return Inputs(off / self.spreads[step], None).to(self._device), self._latents[rows].to(
            self._device
        )

    def inputs_of(self, deviations: Tensor, steps: Tensor) -> Inputs:
        """Return hint parts of releases ``(N, C, h, w)`` in the form of the simulated ones.

        Args:
            deviations: hint parts beyond the mean.
            steps: step of each release, ``(N,)``.
        """
        spread = torch.tensor([self.spreads[int(step)] for step in steps]).view(-1, 1, 1, 1)
        return Inputs(deviations / spread, None).to(self._device)

    def _parts(self, step: int, conditions: Tensor) -> Tensor:
        self._forward.stem.load_state_dict(dict(self._path.at[step]))
        return hint_part(self._forward, conditions, self._device)


class HintDecoder:
    """The network of ``inversion``, used for z_c alone; its training continues from round to round.

    Attributes:
        losses: l1 distance of z_c, by iteration.
    """

    def __init__(
        self, hints: SimulatedHints, width: int, depth: int, rng: torch.Generator, device: str
    ) -> None:
        example, latents = hints.draw(_FIRST, rng)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=rng)))
            self._network = InverseNetwork(example, width, depth, tuple(latents.shape[2:])).to(
                device
            )
        self.losses: list[float] = []

    def train(
        self,
        hints: SimulatedHints,
        iterations: int,
        batch_size: int,
        peak: float,
        rng: torch.Generator,
        advance: Advance,
    ) -> None:
        """Train for one cycle of AdamW up to the learning rate ``peak``."""
        self._network.train()
        optimizer = torch.optim.AdamW(self._network.parameters(), lr=peak, fused=True)
        for step in range(iterations):
            rate, momentum = one_cycle(step, iterations)
            for group in optimizer.param_groups:
                group["lr"], group["betas"] = peak * rate, (momentum, 0.999)
            inputs, truth = hints.draw(batch_size, rng)
            loss = (self._network(inputs)[1] - truth).abs().mean()
            gradient_step(optimizer, loss, LARGEST_NORM)
            self.losses.append(float(loss.detach()))
            advance(1)

    @torch.no_grad()
    def read(self, hints: SimulatedHints, deviations: Tensor, steps: Tensor) -> Tensor:
        """Return z_c ``(N, 4, h, w)`` of the hint parts of releases.

        Args:
            hints: sets the scale of each step.
            deviations: hint parts beyond the mean, ``(N, C, h, w)``.
            steps: step of each release, ``(N,)``.
        """
        self._network.eval()
        parts = zip(torch.split(deviations, 64), torch.split(steps, 64), strict=True)
        return torch.cat(
            [self._network(hints.inputs_of(part, step))[1].cpu() for part, step in parts]
        )
