"""Where a guess lives: in the client's input itself, or in the latents of the public autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bench.public import Codec
from bench.public_trainer import Unknown


class Space(Protocol):
    """Coordinates of one input; ``shape`` of one record's."""

    shape: tuple[int, ...]

    def start(self, count: int, rng: torch.Generator, *, random: bool) -> Tensor:
        """First guesses, ``(count, *shape)``: the middle of the range, or a draw over it."""

    def clamp(self, point: Tensor) -> Tensor:
        """Coordinates moved to where the input is within its range, as far as that can be told."""

    def input(self, point: Tensor) -> Tensor:
        """The input at ``(N, *shape)``, differentiable."""


@dataclass(frozen=True)
class Direct:
    """The input's own numbers."""

    unknown: Unknown

    @property
    def shape(self) -> tuple[int, ...]:
        return self.unknown.shape

    def start(self, count: int, rng: torch.Generator, *, random: bool) -> Tensor:
        low, high = self.unknown.low, self.unknown.high
        if low is None or high is None:
            draw = torch.randn(count, *self.shape, generator=rng)
            return draw if random else torch.zeros_like(draw)
        share = torch.rand(count, *self.shape, generator=rng)
        return low + (high - low) * (share if random else torch.full_like(share, 0.5))

    def clamp(self, point: Tensor) -> Tensor:
        bounded = self.unknown.low is not None or self.unknown.high is not None
        return point.clamp(self.unknown.low, self.unknown.high) if bounded else point

    def input(self, point: Tensor) -> Tensor:
        return point


@dataclass(frozen=True, eq=False)
class Decoded:
    """Latents whose decoded picture is the input: the autoencoder as a prior (GLASS does so with a generator)."""

    codec: Codec
    shape: tuple[int, ...]
    unknown: Unknown

    def start(self, count: int, rng: torch.Generator, *, random: bool) -> Tensor:
        draw = torch.randn(count, *self.shape, generator=rng)
        return draw if random else torch.zeros_like(draw)

    def clamp(self, point: Tensor) -> Tensor:
        return point

    def input(self, point: Tensor) -> Tensor:
        return self.codec.render(point).clamp(self.unknown.low, self.unknown.high)
