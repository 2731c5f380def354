"""The server of ``stir``: it moves a client's hint block at random, then lets it stand still."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.interfaces import GRADIENT_DOWN, Channel, ServerAdversary

_SIZE = 1e-3
"""Root mean square of the gradients: about that of a loss; Adam's steps do not depend on it."""


class StirServer(ServerAdversary):
    """Answers with random gradients in its first exchanges, and with zeros after them.

    A zero convolution moves by the sum over places of the gradient times its input. Gradients of a
    loss lie in few directions, and the first of them is the mean of the input, which says nothing
    about a record; so an honest client's hint block is sensitive in few directions too. Here every
    channel gets a different gradient at every place, with mean zero over the places of a record, so
    that only differences between places move the block.

    Args:
        exchanges: exchanges that are answered with random gradients; an adaptive optimiser needs
            some tens of further exchanges to come to rest.
        rng: draws the gradients.
    """

    def __init__(self, exchanges: int, rng: torch.Generator) -> None:
        self._remaining, self._rng = exchanges, rng

    def answer(
        self, sent: Mapping[Channel, Tensor], honest: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        if GRADIENT_DOWN not in honest:
            return honest
        true_gradient = honest[GRADIENT_DOWN]
        gradient = torch.zeros(true_gradient.shape)
        if self._remaining > 0:
            self._remaining -= 1
            gradient = _SIZE * torch.randn(true_gradient.shape, generator=self._rng)
            gradient -= gradient.mean((2, 3), keepdim=True)
        return {**honest, GRADIENT_DOWN: gradient.to(true_gradient)}
