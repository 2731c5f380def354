"""Make smashed data sparse: send only its largest numbers."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import Card, Channel, Defense, ProtectContext
from defenses.common.feature_params import SmashedParams, straight_through


class TopKParams(SmashedParams):
    """Sets how many numbers are kept.

    Attributes:
        keep: share of each record's numbers that are sent, at least one; the others become zero.
    """

    keep: float = Field(default=0.1, gt=0, le=1)


class TopK(Defense):
    """Keeps the largest numbers of each record by absolute value."""

    name = "topk"
    Params = TopKParams
    params: TopKParams
    card = Card(
        summary="Sends the largest numbers of each record's smashed data and zeros for the rest "
        "(default keeps 10 %).",
        source="this project; sparsification as of Aji & Heafield, arXiv:1704.05021",
        cost="none; zeros are sent as they are, so bytes do not shrink",
        notes="Kept numbers are exact, and their positions reveal more. No guarantee. Adaptive "
        "attack: least squares on the known support; decoders trained on sparse features.",
    )

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel in self.params.channels else tensor

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel not in self.params.channels:
            return tensor
        flat = tensor.detach().abs().flatten(1)
        index = flat.topk(max(1, round(self.params.keep * flat.shape[1])), 1).indices
        return tensor * torch.zeros_like(flat).scatter_(1, index, 1.0).view_as(tensor)

    def surrogate(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        """Return the kept numbers with the identity's gradient.

        Numbers that are not kept have a gradient too, so that a search can make them large enough
        to be kept.
        """
        return straight_through(tensor, self.protect(channel, tensor, context))
