"""Coordinates of a guess: the client's input itself, one channel of it, or autoencoder latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from bench.interfaces import Codec, ImageBatch, Records, Unknown
from bench.interfaces.public_forward import CONDITION


class Space(Protocol):
    """Coordinates of one input."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one record's coordinates."""

    def start(self, count: int, rng: torch.Generator, *, random: bool) -> Tensor:
        """Return first guesses ``(count, *shape)``: the middle of the range, or draws over it."""

    def clamp(self, point: Tensor) -> Tensor:
        """Return coordinates moved to where the input is within its range, if that is known."""

    def input(self, point: Tensor) -> Tensor:
        """Return the input at coordinates ``(N, *shape)``, differentiable."""


@dataclass(frozen=True)
class Direct:
    """The numbers of the input itself."""

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
    """A picture with three equal channels; ``unknown`` describes one channel, ``(1, H, W)``."""

    def input(self, point: Tensor) -> Tensor:
        return point.expand(-1, 3, -1, -1)


@dataclass(frozen=True, eq=False)
class Decoded:
    """Latents whose decoded picture is the input: the autoencoder is a prior.

    GLASS uses a generator in this way.
    """

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
    """Known inputs of a client, and coordinates of those that are searched for.

    Attributes:
        known: by name, inputs that need no search, ``(N, *shape)``.
        spaces: by name, the coordinates of each input that is searched for.
        warm: by name, first guesses in these coordinates, ``(N, *shape)``.
    """

    known: Mapping[str, Tensor]
    spaces: Mapping[str, Space]
    warm: Mapping[str, Tensor]

    def select(self, rows: Tensor) -> SearchInputs:
        """Return the inputs of some rows."""
        known, warm = ({n: t[rows] for n, t in of.items()} for of in (self.known, self.warm))
        return SearchInputs(known, self.spaces, warm)


def spaces_of(
    free: Mapping[str, Unknown], kind: str, codec: Codec, auxiliary: Records
) -> dict[str, Space]:
    """Return coordinates for each free input.

    Args:
        free: the inputs that are searched for.
        kind: ``latent`` searches pictures in the autoencoder's latents, ``input`` in pixels.
        codec: the public autoencoder.
        auxiliary: the attacker's records. Conditions are taken to be grey where all of these are.

    Raises:
        NotApplicableError: the autoencoder cannot be differentiated.
    """
    spaces: dict[str, Space] = {}
    for name, unknown in free.items():
        picture = unknown.shape[0] == 3 and unknown.low == 0
        if kind == "latent" and picture:
            latents = codec.encode(ImageBatch(torch.full((1, *unknown.shape), 0.5)))
            codec.render(latents)  # raises here rather than in the middle of a search
            spaces[name] = Decoded(codec, tuple(latents.shape[1:]), unknown)
        elif name == CONDITION and _grey(auxiliary.conditions):
            spaces[name] = Grey(replace(unknown, shape=(1, *unknown.shape[1:])))
        else:
            spaces[name] = Direct(unknown)
    return spaces


def mean_condition(
    spaces: Mapping[str, Space], auxiliary: Records, count: int
) -> dict[str, Tensor]:
    """Return the mean of the auxiliary conditions as first guesses of the condition, by name.

    It is a better guess than the middle of the range.
    """
    space = spaces.get(CONDITION)
    if not isinstance(space, Direct) or not len(auxiliary):
        return {}
    mean = auxiliary.conditions.float().mean(0) / 255
    return {CONDITION: mean[: space.shape[0]].expand(count, -1, -1, -1)}


def _grey(pictures: Tensor) -> bool:
    return len(pictures) > 0 and bool((pictures == pictures[:, :1]).all())
