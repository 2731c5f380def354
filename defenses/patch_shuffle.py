"""Cut every feature map of a release into squares and shuffle them."""

from __future__ import annotations

import math
import weakref

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import (
    CONTROL_FEATURES,
    NOISE_TARGET,
    UNET_FEATURES,
    Card,
    Channel,
    Defense,
    Params,
    ProtectContext,
)


class PatchShuffleParams(Params):
    """Sets the size of the squares, and whether the noise target is shuffled.

    Attributes:
        patch: side of the squares in latent cells; where it does not divide a map, the greatest
            common divisor is used.
        target: whether the noise target is shuffled in the order of the features; if not, the
            target shows the noise of other places than the server's input.
    """

    patch: int = Field(default=4, ge=1)
    target: bool = True


class PatchShuffle(Defense):
    """Draws one random order of squares for each record and release.

    h_ctrl, h_sd and the noise target of a release share the order.
    """

    name = "patch-shuffle"
    Params = PatchShuffleParams
    params: PatchShuffleParams
    card = Card(
        summary="Shuffles squares of h_ctrl, h_sd and the noise target, in one order for each "
        "record and release.",
        source="Yao et al., ICDM 2022 (Patch Shuffling); a comparison of arXiv:2409.08503 ('PS')",
        cost="none in bytes; a convolutional server loses what lies across squares",
        notes="Designed for transformers. In sampling nothing is shuffled, since the input of the "
        "frozen UNet is not shuffled either. Every square is sent unchanged, so the attacker faces "
        "a jigsaw puzzle. No guarantee. Adaptive attack: the closed form, then the order of the "
        "squares by their borders; many releases of a record.",
    )

    def __init__(self, params: PatchShuffleParams | None = None) -> None:
        super().__init__(params)
        self._release: tuple[weakref.ref[ProtectContext], int, Tensor] | None = None

    def shuffled_squares(self, channel: Channel) -> int:
        maps = (CONTROL_FEATURES, UNET_FEATURES, *((NOISE_TARGET,) if self.params.target else ()))
        return int(self.params.patch) if channel in maps else 0

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if self.shuffled_squares(channel) else tensor

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if not self.shuffled_squares(channel) or context.phase != "training":
            return tensor
        height, width = tensor.shape[-2:]
        side = math.gcd(math.gcd(height, width), self.params.patch)
        count = (height // side) * (width // side)
        # Squares are (B, C side side, count).
        squares = torch.nn.functional.unfold(tensor.float(), side, stride=side)
        order = self._order(context, count).to(tensor.device).unsqueeze(1).expand_as(squares)
        moved = torch.nn.functional.fold(
            squares.gather(2, order), (height, width), side, stride=side
        )
        return moved.to(tensor.dtype)

    def _order(self, context: ProtectContext, count: int) -> Tensor:
        """Return where each square comes from, ``(B, count)``, drawn once for each release."""
        if self._release is None or self._release[0]() is not context or self._release[1] != count:
            orders = [torch.randperm(count, generator=context.rng) for _ in context.record_ids]
            self._release = (weakref.ref(context), count, torch.stack(orders))
        return self._release[2]
