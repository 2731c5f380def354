"""Mix channels of smashed data by the client's secret; the server learns to undo the mixing."""

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
    """Sets which channels are mixed with each other.

    Attributes:
        group: how many channels are mixed with each other. It must divide the number of channels of
            every tensor that is mixed.
    """

    group: int = Field(default=4, ge=2)


class Unmixing(ServerAdapter):
    """Multiplies each tensor by a matrix, which is trained from the identity."""

    def __init__(self, channels: tuple[Channel, ...], group: int) -> None:
        super().__init__()
        self.matrices = nn.ParameterDict(
            {str(channel): nn.Parameter(torch.eye(group)) for channel in channels}
        )

    def forward(self, channel: str, tensor: Tensor) -> Tensor:
        return mix(tensor, self.matrices[channel]) if channel in self.matrices else tensor


class KeyedMixing(Defense):
    """Multiplies every group of channels by a secret orthogonal matrix.

    The matrix of each tensor is drawn from the client's secret.
    """

    name = "keyed-mixing"
    Params = KeyedMixingParams
    params: KeyedMixingParams
    card = Card(
        summary="Mixes channels of the smashed data by a secret matrix, which the server's adapter "
        "learns to undo.",
        source="this project",
        cost="none in bytes; the frozen UNet gets mixed channels until the adapter has learned to "
        "undo the mixing",
        notes="No formal guarantee: all releases use one matrix, and the server's adapter learns "
        "its inverse during training. Adaptive attack: a least-squares estimate of the matrix from "
        "the noise target (x_t is mostly eps at high t), or from the covariance of public "
        "features; the trained adapter itself.",
    )

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel in self.params.channels else tensor

    def mixed_channels(self, channel: Channel) -> int:
        return int(self.params.group) if channel in self.params.channels else 0

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        if channel not in self.params.channels:
            return tensor
        if tensor.shape[1] % self.params.group:
            raise RequestError(
                f"{self.name}: group={self.params.group} does not divide the {tensor.shape[1]} "
                f"channels of {channel}; choose a divisor"
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
    """Return a random orthogonal matrix ``(group, group)`` drawn from ``secret``."""
    drawn = torch.randn(group, group, generator=generator(secret, "keyed-mixing", channel))
    matrix: Tensor = torch.linalg.qr(drawn).Q
    return matrix


def mix(tensor: Tensor, matrix: Tensor) -> Tensor:
    """Return ``tensor`` ``(B, C, h, w)`` with every group of channels multiplied by ``matrix``."""
    batch, channels, height, width = tensor.shape
    grouped = tensor.reshape(batch, channels // len(matrix), len(matrix), height, width)
    return torch.einsum("ij,bgjhw->bgihw", matrix, grouped).reshape(tensor.shape)
