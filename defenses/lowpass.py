"""Smashed data without its fine detail."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import Card, Channel, Defense, ProtectContext
from defenses.common.feature_params import SmashedParams


class LowpassParams(SmashedParams):
    """Attributes:
    keep: the largest spatial frequency that passes, along either axis, over the largest that there
    is.
    """

    keep: float = Field(default=0.5, ge=0, le=1)


class Lowpass(Defense):
    """An ideal low-pass on every map: higher frequencies of its Fourier transform become zero."""

    name = "lowpass"
    Params = LowpassParams
    card = Card(
        summary="Takes the fine spatial detail out of every map of the smashed data (default keeps half the band).",
        source="this project; METHODS 7.10",
        cost="none; maps keep their size, so bytes do not shrink",
        notes="Linear and public: what passes is exact. The noise target keeps its detail, so where it is sent the "
        "server learns the noise's high band from nothing. No guarantee. Adaptive attack: a prior fills the band in; "
        "decoders taught on filtered features.",
    )

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel not in self.params.channels:
            return tensor
        height, width = tensor.shape[-2:]
        spectrum = torch.fft.rfft2(tensor.float())
        rows = torch.fft.fftfreq(height, device=tensor.device).abs() <= 0.5 * self.params.keep
        columns = torch.fft.rfftfreq(width, device=tensor.device).abs() <= 0.5 * self.params.keep
        passed = torch.fft.irfft2(spectrum * (rows.unsqueeze(1) & columns), s=(height, width))
        return passed.to(tensor.dtype)
