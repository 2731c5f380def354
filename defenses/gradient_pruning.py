"""Prune updates: send zeros in place of their smallest numbers."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import (
    CLIENT_UPDATE,
    Card,
    Channel,
    Defense,
    Params,
    ProtectContext,
    UpdateProtection,
)


class GradientPruningParams(Params):
    """Sets how much of an update is pruned.

    Attributes:
        share: share of each tensor's numbers, smallest first by absolute value, that become zero.
    """

    share: float = Field(default=0.9, ge=0, lt=1)


class GradientPruning(Defense):
    """Keeps the largest numbers of each tensor of an update by absolute value, at least one."""

    name = "gradient-pruning"
    Params = GradientPruningParams
    params: GradientPruningParams
    card = Card(
        summary="Sends the largest numbers of each tensor of an update and zeros for the rest "
        "(default 90 % zeros).",
        source="Zhu et al., arXiv:1906.08935, section 5.2 (gradient compression)",
        cost="none; zeros are sent as they are, so bytes do not shrink",
        notes="Acts on client_update alone; has no effect where no update crosses the wire. Kept "
        "numbers are exact.",
    )

    def update_protection(self) -> UpdateProtection | None:
        return UpdateProtection(masked=True)

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel == CLIENT_UPDATE else tensor

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel != CLIENT_UPDATE:
            return tensor
        kept = max(1, tensor.numel() - int(self.params.share * tensor.numel()))
        flat = tensor.flatten()
        pruned = torch.zeros_like(flat)
        index = flat.abs().topk(kept).indices
        pruned[index] = flat[index]
        return pruned.view_as(tensor)
