"""Quantise smashed data."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from bench.interfaces import Card, Channel, Defense, ProtectContext
from defenses.common.feature_params import SmashedParams, per_record, straight_through


class QuantiseParams(SmashedParams):
    """Sets the resolution.

    Attributes:
        bits: bits per number; 1 sends signs times the record's mean absolute value.
    """

    bits: int = Field(default=4, ge=1, le=16)


class Quantise(Defense):
    """Rounds numbers to 2^bits - 1 evenly spaced values.

    The values lie between minus and plus the largest absolute value of the record.
    """

    name = "quantise"
    Params = QuantiseParams
    params: QuantiseParams
    card = Card(
        summary="Rounds each record's smashed data to a few bits a number (default 4; 1 sends "
        "signs).",
        source="this project; signs as in arXiv:1901.09847",
        cost="none; levels are sent as floats, so bytes do not shrink",
        notes="Stacked after activation its steps are coarse near zero, where f is flat. Rounding "
        "is not random, so there is no guarantee. Adaptive attack: least squares through conv_in, "
        "which averages rounding away; decoders trained on quantised features.",
    )

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel in self.params.channels else tensor

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel not in self.params.channels:
            return tensor
        values = tensor.detach().float()
        if self.params.bits == 1:
            sent = values.sign() * per_record(values.abs().flatten(1).mean(1), values)
        else:
            step = per_record(values.abs().flatten(1).amax(1), values).clamp_min(1e-30) / (
                2 ** (self.params.bits - 1) - 1
            )
            sent = (values / step).round() * step
        return straight_through(tensor, sent.to(tensor.dtype))
