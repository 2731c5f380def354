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
    """Mean difference of neighbouring pixels, both ways, of every map ``(B, C, h, w)``.

    Attributes:
        weight: its share in the objective.
        power: 1 is l1, as in arXiv:2003.14053; 2 is squared.
        only: names of the inputs that it is for; None is every map.
    """

    weight: float
    power: int = 1
    only: frozenset[str] | None = None

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor | float:
        penalty: Tensor | float = 0.0
        for name, tensor in inputs.items():
            if self.only is not None and name not in self.only:
                continue
            if tensor.ndim == 4 and min(tensor.shape[2:]) > 1:
                across = (tensor[..., 1:] - tensor[..., :-1]).abs().pow(self.power).mean()
                down = (tensor[..., 1:, :] - tensor[..., :-1, :]).abs().pow(self.power).mean()
                penalty = penalty + self.weight * (across + down)
        return penalty
