"""Keyed mixing: channels of smashed data are mixed with a secret of the client, and the server learns to unmix."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.interfaces import (
    CONTROL_FEATURES,
    UNET_FEATURES,
    Card,
    Channel,
    Defense,
    ProtectContext,
    RequestError,
    ServerAdapter,
    generator,
)
from defenses.common.feature_params import SmashedParams


class KeyedMixingParams(SmashedParams):
    """Attributes:
    group: how many channels are mixed with each other; it must divide the channels of every tensor
    acted on.
    """

    group: int = Field(default=4, ge=2)


class Unmixing(ServerAdapter):
    """A matrix for each tensor, trained from the identity."""

    def __init__(self, channels: tuple[Channel, ...], group: int) -> None:
        super().__init__()
        self.matrices = nn.ParameterDict(
            {str(channel): nn.Parameter(torch.eye(group)) for channel in channels}
        )

    def forward(self, channel: str, tensor: Tensor) -> Tensor:
        return mix(tensor, self.matrices[channel]) if channel in self.matrices else tensor


class KeyedMixing(Defense):
    """Every group of channels times one secret orthogonal matrix, drawn for each tensor from the client's secret."""

    name = "keyed-mixing"
    Params = KeyedMixingParams
    card = Card(
        summary="Mixes channels of the smashed data with a secret matrix, which the server's adapter learns to undo.",
        source="this project; METHODS 7.16",
        cost="none in bytes; the frozen UNet sees garbage until the adapter has learnt",
        notes="No formal guarantee: the matrix is the same for all releases, and the server's adapter learns its "
        "inverse as training goes on. Adaptive attack: least squares of the matrix from the noise target (x_t is "
        "mostly eps at high t), or from the covariance of public features; the trained adapter itself.",
    )

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel not in self.params.channels:
            return tensor
        if tensor.shape[1] % self.params.group:
            raise RequestError(
                f"{self.name}: groups of {self.params.group} do not divide {tensor.shape[1]} channels"
            )
        return mix(tensor, secret_matrix(context.secret, channel, self.params.group).to(tensor))

    def server_adapter(self, empty_prompt: Tensor) -> ServerAdapter | None:
        wanted = [
            channel
            for channel in (CONTROL_FEATURES, UNET_FEATURES)
            if channel in self.params.channels
        ]
        return Unmixing(tuple(wanted), self.params.group)


def secret_matrix(secret: int, channel: str, group: int) -> Tensor:
    """A random orthogonal ``(group, group)`` matrix."""
    drawn = torch.randn(group, group, generator=generator(secret, "keyed-mixing", channel))
    return torch.linalg.qr(drawn).Q


def mix(tensor: Tensor, matrix: Tensor) -> Tensor:
    """``(B, C, h, w)`` with every group of channels multiplied by ``matrix``."""
    batch, channels, height, width = tensor.shape
    grouped = tensor.reshape(batch, channels // len(matrix), len(matrix), height, width)
    return torch.einsum("ij,bgjhw->bgihw", matrix, grouped).reshape(tensor.shape)
