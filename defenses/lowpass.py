"""Remove the fine spatial detail from smashed data."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import Card, Channel, Defense, ProtectContext
from defenses.common.feature_params import SmashedParams


class LowpassParams(SmashedParams):
    """Sets which frequencies pass.

    Attributes:
        keep: the largest spatial frequency that passes along either axis, as a share of the largest
            possible one.
    """

    keep: float = Field(default=0.5, ge=0, le=1)


class Lowpass(Defense):
    """Applies an ideal low-pass filter: higher frequencies of every map's spectrum become zero."""

    name = "lowpass"
    Params = LowpassParams
    params: LowpassParams
    card = Card(
        summary="Removes the fine spatial detail from every map of the smashed data (default keeps "
        "half the band).",
        source="this project",
        cost="none; maps keep their size, so bytes do not shrink",
        notes="Linear and public: frequencies that pass are exact. The noise target keeps its "
        "detail, so where it is sent the server must predict a high band that its input does not "
        "contain. No guarantee. Adaptive attack: a prior fills the band in; decoders trained on "
        "filtered features.",
    )

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel in self.params.channels else tensor

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel not in self.params.channels:
            return tensor
        height, width = tensor.shape[-2:]
        spectrum = torch.fft.rfft2(tensor.float())
        rows = torch.fft.fftfreq(height, device=tensor.device).abs() <= 0.5 * self.params.keep
        columns = torch.fft.rfftfreq(width, device=tensor.device).abs() <= 0.5 * self.params.keep
        passed: Tensor = torch.fft.irfft2(
            spectrum * (rows.unsqueeze(1) & columns), s=(height, width)
        )
        return passed.to(tensor.dtype)
