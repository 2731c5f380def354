"""Compress updates to signs."""

from __future__ import annotations

from torch import Tensor

from bench.interfaces import CLIENT_UPDATE, Card, Channel, Defense, ProtectContext, UpdateProtection


class Sign(Defense):
    """Replaces each number of an update by its sign times the tensor's mean absolute value.

    Zeros stay zero.
    """

    name = "sign"
    card = Card(
        summary="Sends only the sign of each number of an update, and one scale for each tensor.",
        source="signSGD, Bernstein et al., arXiv:1802.04434; scaled as in Karimireddy et al., "
        "arXiv:1901.09847",
        cost="none; signs are sent as floats, so bytes do not shrink",
        notes="Acts on client_update alone; has no effect where no update crosses the wire. No "
        "error feedback.",
    )

    def update_protection(self) -> UpdateProtection | None:
        return UpdateProtection(signs=True)

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel == CLIENT_UPDATE else tensor

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        return tensor.sign() * tensor.abs().mean() if channel == CLIENT_UPDATE else tensor
