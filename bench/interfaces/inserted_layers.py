"""Layers that a defence puts into the network a client trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor


class InsertedLayers(ABC):
    """A block between a network's features and its output layer, as functions of named weights.

    Its first weights are public, and are trained and sent with the others. Pure, differentiable,
    and fit for ``torch.func.vmap``.

    Attributes:
        noise: how many numbers it draws a record and step, standard normal and the client's own; 0
            is none.
        behind_noise: names of its weights that see the record through that noise.
    """

    noise: int
    behind_noise: frozenset[str] = frozenset()

    @abstractmethod
    def initial_weights(self, features: int) -> dict[str, Tensor]:
        """Public first weights of a block that takes and gives ``features`` numbers a record."""

    @abstractmethod
    def apply(
        self, weights: Mapping[str, Tensor], features: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """New features ``(B, D)`` and what is added to the client's mean loss, ``()``.

        Args:
            weights: the network's, this block's among them.
            features: ``(B, D)``.
            noise: ``(B, noise)``; zeros give the block's mean.
        """
