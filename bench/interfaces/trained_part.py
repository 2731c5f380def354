"""What a defence trains on the client beside the client's own layers, such as noise tensors or a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from bench.interfaces.defense import Defense


class TrainedPart(ABC):
    """Tensors of the client's own that ``protect`` and ``client_loss`` use; they never cross the wire.

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


def parts(defense: Defense) -> dict[str, TrainedPart]:
    """Those of a stack, by place and name of the defence that each belongs to."""
    return {
        f"{place}-{single.name}": single.trained_part
        for place, single in enumerate(defense.flat())
        if single.trained_part is not None
    }


def step(defense: Defense) -> None:
    """Train what the defence trains, after the client's own step."""
    for part in parts(defense).values():
        part.step()


def state(defense: Defense) -> dict[str, Tensor]:
    """All that a stack has trained, on the CPU, by ``part/tensor``."""
    return {
        f"{name}/{key}": tensor.detach().cpu().contiguous()
        for name, part in parts(defense).items()
        for key, tensor in part.state().items()
    }


def restore(defense: Defense, tensors: Mapping[str, Tensor]) -> None:
    """Give a fresh stack of the same parts what another has trained."""
    for name, part in parts(defense).items():
        own = {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}
        if own:
            part.restore(own)
