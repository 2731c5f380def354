"""A malicious server that keeps the client where everybody knows it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.interfaces import GRADIENT_DOWN, Channel, ServerAdversary


class HoldServer(ServerAdversary):
    """Answers with gradients of zero, so that the client's weights stay the public initial ones.

    Adam takes no step on a gradient that was never anything but zero; what is left is the decay of
    weights.
    """

    def answer(
        self, sent: Mapping[Channel, Tensor], honest: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        return {
            name: torch.zeros_like(t) if name == GRADIENT_DOWN else t for name, t in honest.items()
        }
