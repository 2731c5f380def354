"""What makes a guess plausible before any gradient is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Prior(Protocol):
    """A penalty on the guessed inputs ``(B, *shape)``."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor | float: ...


@dataclass(frozen=True)
class TotalVariation:
    """Mean difference of neighbouring pixels, both ways, of every input that is a map ``(B, C, h, w)``.

    Attributes:
        weight: its share in the objective.
        power: 1 is l1, as in arXiv:2003.14053; 2 is squared.
    """

    weight: float
    power: int = 1

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor | float:
        penalty: Tensor | float = 0.0
        for tensor in inputs.values():
            if tensor.ndim == 4 and min(tensor.shape[2:]) > 1:
                across = (tensor[..., 1:] - tensor[..., :-1]).abs().pow(self.power).mean()
                down = (tensor[..., 1:, :] - tensor[..., :-1, :]).abs().pow(self.power).mean()
                penalty = penalty + self.weight * (across + down)
        return penalty
