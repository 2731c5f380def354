"""Pass the condition's features through the privacy-preserving activation."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor

from bench.interfaces import CONTROL_FEATURES, Card, Channel, Defense, ProtectContext


def activation(u: Tensor) -> Tensor:
    """Return f(u) = |u| (2 sigmoid(u) - 1) = |u| tanh(u / 2) elementwise.

    f is odd and strictly increasing.
    """
    return u.abs() * torch.tanh(u / 2)


def inverse_activation(y: Tensor, iterations: int = 60) -> Tensor:
    """Return u with |u| tanh(u / 2) = y, elementwise, float64.

    Newton on u tanh(u/2) = |y| from above, where the function is convex and so falls onto the root.
    """
    target = y.double().abs()
    u = torch.sqrt(2 * target) + target
    for _ in range(iterations):
        tanh = torch.tanh(u / 2)
        slope = tanh + u / 2 * (1 - tanh * tanh)
        u = u - torch.where(
            slope > 0, (u * tanh - target) / slope.clamp_min(1e-300), torch.zeros_like(u)
        )
    return torch.copysign(u, y.double())


class Activation(Defense):
    """Sends f(h_ctrl) in half precision, at training and at inference."""

    name = "activation"
    card = Card(
        summary="Passes h_ctrl through f(u) = |u|(2 sigmoid(u) - 1) and sends it as fp16.",
        source="arXiv:2409.08503, privacy-preserving activation; fp16 wire as in the public code",
        cost="halves the bytes of h_ctrl",
        notes="f is strictly increasing, so everyone who knows it can invert it; only the rounding "
        "to fp16 is lost.",
    )

    sends_as = MappingProxyType({CONTROL_FEATURES: torch.float16})

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        return activation(tensor).half() if channel == CONTROL_FEATURES else tensor

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return inverse_activation(tensor).float() if channel == CONTROL_FEATURES else tensor
