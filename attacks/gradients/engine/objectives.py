"""Distances between two gradients; each objective is a scalar of two sets of named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

TINY = 1e-20


class Objective(Protocol):
    """Compares a simulated with an observed gradient, name by name; 0 where they agree."""

    def __call__(
        self, simulated: Mapping[str, Tensor], observed: Mapping[str, Tensor]
    ) -> Tensor: ...


@dataclass(frozen=True)
class SquaredL2:
    """Sum of squared differences over the observed squared norm (arXiv:1906.08935, algorithm 1).

    The norm only sets the scale, so that thresholds and line searches mean the same on every
    network.
    """

    def __call__(self, simulated: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> Tensor:
        difference = torch.stack(
            [(simulated[n] - o).square().sum() for n, o in observed.items()]
        ).sum()
        return difference / (
            torch.stack([o.square().sum() for o in observed.values()]).sum() + TINY
        )


@dataclass(frozen=True)
class L1:
    """Sum of absolute differences over the observed l1 norm (TAG, arXiv:2103.06819, mixes both)."""

    def __call__(self, simulated: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> Tensor:
        difference = torch.stack(
            [(simulated[n] - o).abs().sum() for n, o in observed.items()]
        ).sum()
        return difference / (torch.stack([o.abs().sum() for o in observed.values()]).sum() + TINY)


@dataclass(frozen=True)
class Cosine:
    """1 - cosine, which no rescaling of the gradient changes (arXiv:2003.14053, equation 4).

    Attributes:
        layerwise: take the mean of one cosine per tensor, instead of one cosine over all numbers.
    """

    layerwise: bool = False

    def __call__(self, simulated: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> Tensor:
        dots = torch.stack([(simulated[n] * o).sum() for n, o in observed.items()])
        ours = torch.stack([simulated[n].square().sum() for n in observed])
        theirs = torch.stack([o.square().sum() for o in observed.values()])
        if self.layerwise:
            return (1 - dots * (ours + TINY).rsqrt() * (theirs + TINY).rsqrt()).mean()
        return 1 - dots.sum() * (ours.sum() + TINY).rsqrt() * (theirs.sum() + TINY).rsqrt()
