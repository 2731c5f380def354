"""What defences of smashed data share: the tensors they act on, and a gradient that passes what has none."""

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
    """Attributes:
    where: ``control`` is h_ctrl, ``unet`` is h_sd (x_t itself where the latent is sent), ``both``
    is the two.
    """

    where: Literal["both", "control", "unet"] = "both"

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels that are acted on."""
        return _CHANNELS[self.where]

    @property
    def spared(self) -> tuple[Channel, ...]:
        """The channels of smashed data that are left as they are."""
        return tuple(channel for channel in _CHANNELS["both"] if channel not in self.channels)


def straight_through(tensor: Tensor, sent: Tensor) -> Tensor:
    """``sent``, with the gradient of ``tensor`` (Bengio et al., arXiv:1308.3432)."""
    return tensor + (sent - tensor).detach() if tensor.requires_grad else sent


def per_record(values: Tensor, like: Tensor) -> Tensor:
    """One value a record, ``(B,)``, in a shape that multiplies ``like``."""
    return values.view(-1, *[1] * (like.ndim - 1))


def laplace(shape: Sequence[int], rng: torch.Generator) -> Tensor:
    """Draws of scale 1, ``shape`` float32."""
    sign = 2.0 * torch.randint(0, 2, tuple(shape), generator=rng) - 1
    return sign * torch.empty(tuple(shape)).exponential_(generator=rng)


def statement_of_one_number(
    epsilon: float, bound: str, releases: int, spared: Sequence[Channel]
) -> Guarantee:
    """Pure differential privacy of single numbers, composed over releases.

    Args:
        epsilon: of one number and release.
        bound: on what a number can be.
        spared: channels of the same record that go out as they are.
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
    """Each record's part ``(B, ...)`` shortened to the l2 norm ``longest``."""
    norm = tensor.flatten(1).norm(dim=1)
    return tensor * per_record((longest / norm.clamp_min(1e-30)).clamp_max(1.0), tensor)


def numbers(tensor: Tensor) -> int:
    """How many numbers a record has in ``tensor``."""
    return math.prod(tensor.shape[1:])
