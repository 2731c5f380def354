"""What a defence trains on the client besides the client's layers, such as noise tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor


class TrainedPart(ABC):
    """Tensors on the client that ``protect`` and ``client_loss`` use and that never cross the wire.

    An attacker's copy of the defence makes other tensors, from the attacker's randomness.
    """

    @abstractmethod
    def step(self) -> None:
        """Take one optimizer step with the accumulated gradients, then clear them."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return what a deployed client needs, by name; empty before anything was protected."""

    @abstractmethod
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load what :meth:`state` returned."""
