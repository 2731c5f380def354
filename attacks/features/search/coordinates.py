"""Where a guess lives: in the client's input itself, in one channel of it, or in latents of the public autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from bench.interfaces import Codec, ImageBatch, Records, Unknown
from bench.interfaces.public_forward import CONDITION


class Space(Protocol):
    """Coordinates of one input; ``shape`` of one record's."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one record's coordinates."""

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


@dataclass(frozen=True)
class Grey(Direct):
    """A picture whose three channels are one; ``unknown`` is of that one, ``(1, H, W)``."""

    def input(self, point: Tensor) -> Tensor:
        return point.expand(-1, 3, -1, -1)


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


@dataclass(frozen=True, eq=False)
class SearchInputs:
    """x

    Attributes:
        x: y
    """

    known: Mapping[str, Tensor]
    spaces: Mapping[str, Space]
    warm: Mapping[str, Tensor]

    def select(self, rows: Tensor) -> SearchInputs:
        """x."""
        known, warm = ({n: t[rows] for n, t in of.items()} for of in (self.known, self.warm))
        return SearchInputs(known, self.spaces, warm)


def spaces_of(
    free: Mapping[str, Unknown], kind: str, codec: Codec, auxiliary: Records
) -> dict[str, Space]:
    """Coordinates for each free input.

    Args:
        kind: ``latent`` puts pictures into the autoencoder's latents, ``input`` leaves them as they
            are. Conditions are taken to be grey where all of the attacker's own are.

    Raises:
        NotApplicableError: the autoencoder cannot be differentiated.
    """
    spaces: dict[str, Space] = {}
    for name, unknown in free.items():
        picture = unknown.shape[0] == 3 and unknown.low == 0
        if kind == "latent" and picture:
            latents = codec.encode(ImageBatch(torch.full((1, *unknown.shape), 0.5)))
            codec.render(latents)  # refuses here rather than in the middle of a search
            spaces[name] = Decoded(codec, tuple(latents.shape[1:]), unknown)
        elif name == CONDITION and _grey(auxiliary.conditions):
            spaces[name] = Grey(replace(unknown, shape=(1, *unknown.shape[1:])))
        else:
            spaces[name] = Direct(unknown)
    return spaces


def mean_condition(
    spaces: Mapping[str, Space], auxiliary: Records, count: int
) -> dict[str, Tensor]:
    """First guesses that are better than the middle of the range: the mean of the attacker's own conditions."""
    space = spaces.get(CONDITION)
    if not isinstance(space, Direct) or not len(auxiliary):
        return {}
    mean = auxiliary.conditions.float().mean(0) / 255
    return {CONDITION: mean[: space.shape[0]].expand(count, -1, -1, -1)}


def _grey(pictures: Tensor) -> bool:
    return len(pictures) > 0 and bool((pictures == pictures[:, :1]).all())
