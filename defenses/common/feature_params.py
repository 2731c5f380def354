"""Parameters and functions that defences of smashed data share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bench.interfaces import (
    CLIENT_UPDATE,
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    UNET_FEATURES,
    Channel,
    Guarantee,
    Params,
)

_CHANNELS: dict[str, tuple[Channel, ...]] = {
    "both": (CONTROL_FEATURES, UNET_FEATURES),
    "control": (CONTROL_FEATURES,),
    "unet": (UNET_FEATURES,),
}


class SmashedParams(Params):
    """Sets which tensors a defence of smashed data acts on.

    Attributes:
        where: ``control`` is h_ctrl, ``unet`` is h_sd (x_t itself where the latent is sent),
            ``both`` is the two together.
    """

    where: Literal["both", "control", "unet"] = "both"

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Return the channels that the defence acts on."""
        return _CHANNELS[self.where]

    @property
    def spared(self) -> tuple[Channel, ...]:
        """Return the channels of smashed data that the defence does not change."""
        return tuple(channel for channel in _CHANNELS["both"] if channel not in self.channels)


def straight_through(tensor: Tensor, sent: Tensor) -> Tensor:
    """Return ``sent`` with the gradient of ``tensor`` (Bengio et al., arXiv:1308.3432)."""
    return tensor + (sent - tensor).detach() if tensor.requires_grad else sent


def per_record(values: Tensor, like: Tensor) -> Tensor:
    """Return one value for each record, ``(B,)``, in a shape that broadcasts with ``like``."""
    return values.view(-1, *[1] * (like.ndim - 1))


def laplace(shape: Sequence[int], rng: torch.Generator) -> Tensor:
    """Return draws from a Laplace distribution of scale 1, ``shape`` float32."""
    sign = 2.0 * torch.randint(0, 2, tuple(shape), generator=rng) - 1
    return sign * torch.empty(tuple(shape)).exponential_(generator=rng)


def statement_of_one_number(
    epsilon: float, bound: str, releases: int, spared: Sequence[Channel]
) -> Guarantee:
    """Return the statement of pure differential privacy of single numbers, composed over releases.

    Args:
        epsilon: epsilon of one number and one release.
        bound: the bound on a number, in words.
        releases: how many releases of a number are composed.
        spared: channels of the record that leave the client unchanged; they void the statement.
    """
    return Guarantee(
        epsilon=epsilon * releases,
        delta=0.0,
        unit="one number of the smashed data",
        sensitivity=f"{bound}; a record's epsilon is their sum",
        releases=releases,
        voided_by=(*spared, CLIENT_WEIGHTS, CLIENT_UPDATE),
    )


def clipped(tensor: Tensor, longest: float) -> Tensor:
    """Return ``tensor`` ``(B, ...)`` with each record shortened to the l2 norm ``longest``."""
    norm = tensor.flatten(1).norm(dim=1)
    return tensor * per_record((longest / norm.clamp_min(1e-30)).clamp_max(1.0), tensor)


def numbers(tensor: Tensor) -> int:
    """Return how many numbers a record has in ``tensor`` ``(B, ...)``."""
    return math.prod(tensor.shape[1:])
