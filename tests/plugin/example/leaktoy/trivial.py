"""Defences that hide nothing: a good attack undoes each of them without a hook that says how."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.interfaces import CONTROL_FEATURES, Card, Channel, Defense, ProtectContext


class Doubled(Defense):
    """Sends 2 h_ctrl."""

    name = "toy-doubled"
    card = Card(summary="Doubles control_features.", source="this project, tests/plugin/example")

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        return 2 * tensor if channel == CONTROL_FEATURES else tensor


class Renamed(Defense):
    """Sends |u| tanh(u / 2) of every number u of h_ctrl, the activation of arXiv:2409.08503."""

    name = "toy-renamed"
    card = Card(
        summary="Applies the activation of arXiv:2409.08503 to control_features, without a hook.",
        source="arXiv:2409.08503, under another name",
    )

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        return tensor.abs() * torch.tanh(tensor / 2) if channel == CONTROL_FEATURES else tensor


class Turned(Defense):
    """Sends the channels of h_ctrl in reverse order with alternating signs, plus a constant map."""

    name = "toy-turned"
    card = Card(
        summary="Reverses the channels of control_features, turns signs and adds a public map.",
        source="this project, tests/plugin/example",
    )

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel != CONTROL_FEATURES:
            return tensor
        channels, height, width = tensor.shape[1:]
        signs = 1.0 - 2 * (torch.arange(channels) % 2)
        constant = torch.linspace(-1, 1, height * width).view(height, width)
        return tensor.flip(1) * signs.view(-1, 1, 1).to(tensor) + constant.to(tensor)


class Sealed(Defense):
    """Sends -h_ctrl, and refuses to run for anybody who lacks the client's secret."""

    name = "toy-sealed"
    card = Card(
        summary="Negates control_features; an attacker's copy of it raises.",
        source="this project, tests/plugin/example",
    )

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel != CONTROL_FEATURES:
            return tensor
        if not context.secret:
            raise ValueError("the client's secret is missing")
        return -tensor
