"""The features that a malicious server wants, and what it knows of the client."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.features.search.knowledge import own_pictures, sent_shapes
from attacks.malicious.parts.hijack_server import Autoencoder
from bench.interfaces import (
    CONTROL_FEATURES,
    Claim,
    NotApplicableError,
    Public,
    PublicForward,
    View,
)
from bench.interfaces.public_forward import NOISY


@dataclass(frozen=True, eq=False)
class TargetFeatures:
    """Features that the client is to send, and the pictures that it is to send them for.

    Attributes:
        forward: the client as a function of its inputs.
        name: of the client's input.
        pictures: auxiliary pictures for that input, ``(M, 3, H, W)`` in [0, 1].
        shape: of the client's features, ``(C, h, w)``.
    """

    forward: PublicForward
    name: str
    pictures: Tensor
    shape: tuple[int, ...]

    @classmethod
    def from_public(cls, public: Public) -> TargetFeatures:
        """Return the target features for a public client.

        Raises:
            NotApplicableError: the client is not known, or no picture enters it.
        """
        if public.client is None:
            raise NotApplicableError(
                "the form of the client's features is not known under this threat model"
            )
        records = public.auxiliary
        forward = public.client.forward(records.images.shape[-1])
        name, pictures = own_pictures(forward, records)
        return cls(forward, name, pictures, sent_shapes(forward)[CONTROL_FEATURES])

    @property
    def picture_only(self) -> bool:
        """Whether the picture is all that enters the client's trained part, and x_t does not."""
        return NOISY not in self.forward.inputs()

    @torch.no_grad()
    def claim(self, networks: Autoencoder, view: View, batch_size: int) -> Claim:
        """Return what the inverse makes of the targets' features."""
        parts = torch.split(view.read(CONTROL_FEATURES).float(), batch_size)
        pictures = torch.cat(
            [networks.inverse(part.to(view.public.device)).cpu() for part in parts]
        )
        return Claim(self.forward.estimates({self.name: pictures}))


class ClientPilot(nn.Module):
    """The client before its first step, from pictures ``(B, 3, H, W)`` to ``(B, C, h, w)``."""

    def __init__(self, forward: PublicForward, name: str) -> None:
        super().__init__()
        self.stem = forward.stem
        self._forward, self._name = forward, name

    def forward(self, pictures: Tensor) -> Tensor:
        sent = self._forward.send({self._name: pictures}, torch.Generator().manual_seed(0))
        return sent[CONTROL_FEATURES].float()
