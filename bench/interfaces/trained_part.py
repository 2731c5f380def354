"""What a defence trains on the client beside the client's own layers, such as noise tensors or a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor


class TrainedPart(ABC):
    """Tensors of the client's own that ``protect`` and ``client_loss`` use; they never cross the
    wire.

    An attacker's copy of the defence makes others, from its own randomness.
    """

    @abstractmethod
    def step(self) -> None:
        """One optimiser step by the gradients that the client's backward passes have left; then they are cleared."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """What a deployed client needs, by name; empty before anything was protected."""

    @abstractmethod
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what :meth:`state` gave."""
