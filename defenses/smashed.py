"""What defences of smashed data share: the tensors they act on, and a gradient that passes what has none."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from bench.channels import CONTROL_FEATURES, UNET_FEATURES, Channel
from bench.plugin import Params

_CHANNELS: dict[str, tuple[Channel, ...]] = {
    "both": (CONTROL_FEATURES, UNET_FEATURES),
    "control": (CONTROL_FEATURES,),
    "unet": (UNET_FEATURES,),
}


class SmashedParams(Params):
    """Attributes:
    where: ``control`` is h_ctrl, ``unet`` is h_sd (x_t itself where the latent is sent), ``both`` is the two.
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


def clipped(tensor: Tensor, longest: float) -> Tensor:
    """Each record's part ``(B, ...)`` shortened to the l2 norm ``longest``."""
    norm = tensor.flatten(1).norm(dim=1)
    return tensor * per_record((longest / norm.clamp_min(1e-30)).clamp_max(1.0), tensor)


def numbers(tensor: Tensor) -> int:
    """How many numbers a record has in ``tensor``."""
    return math.prod(tensor.shape[1:])
