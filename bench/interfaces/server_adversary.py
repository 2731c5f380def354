"""A server that misbehaves while it serves: what it sends down instead of what the protocol asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from bench.types.channels import Channel


class ServerAdversary(ABC):
    """Takes the honest server's place in every answer; made by an attack before the client trains."""

    @abstractmethod
    def answer(
        self, sent: Mapping[Channel, Tensor], honest: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """What goes down to the client; the same channels and shapes as ``honest``.

        Args:
            sent: what the client sent in this exchange.
            honest: what an honest server answers.
        """
