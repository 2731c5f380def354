"""Layers that a defence inserts into the network that a client trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor


class InsertedLayers(ABC):
    """A block between the features and the output layer of a network, with named weights.

    Its first weights are public; they are trained and sent together with the other weights. Both
    methods are pure, differentiable, and run under ``torch.func.vmap``.

    Attributes:
        noise: how many standard normal numbers the client draws per record and step; 0 is none.
        behind_noise: names of the block's weights that see the record only through that noise.
    """

    noise: int
    behind_noise: frozenset[str] = frozenset()

    @abstractmethod
    def initial_weights(self, features: int) -> dict[str, Tensor]:
        """Return the public first weights of a block with ``features`` inputs and outputs."""

    @abstractmethod
    def apply(
        self, weights: Mapping[str, Tensor], features: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the new features and a term of the client's loss.

        Args:
            weights: the weights of the network, which include those of this block.
            features: the features of a batch, ``(B, D)``.
            noise: standard normal numbers, ``(B, noise)``; zeros give the block's mean.

        Returns:
            Features ``(B, D)``, and the number ``()`` that is added to the client's mean loss.
        """
