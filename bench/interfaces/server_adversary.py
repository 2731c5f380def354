"""The contract of a malicious server: what it sends in place of the honest answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from bench.types.channels import Channel


class ServerAdversary(ABC):
    """Replaces the honest server in every answer; an attack builds it before the client trains."""

    @abstractmethod
    def answer(
        self, sent: Mapping[Channel, Tensor], honest: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """Return what goes down to the client, with the names and shapes of ``honest``.

        Args:
            sent: what the client sent in this exchange, by channel.
            honest: what an honest server answers, by name.
        """
