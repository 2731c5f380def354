"""How far the features of a guess are from those that were seen, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from attacks.features.search.nuisance import project_out
from bench.interfaces import Channel

Distance = Literal["l2", "cosine"]
TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Match:
    """Compares feature channels with the observed ones, ``(N, ...)`` each.

    Attributes:
        observed: by channel; all count alike.
        distance: ``l2`` is the mean squared difference (He et al., ACSAC 2019) over ``scale``;
            ``cosine`` is 1 - cosine of each row's features as one vector (DRAG, arXiv:2509.11724).
        scale: by channel, ``(N,)``: what a squared difference of 1 means.
        nuisance: by channel, bases ``(N, L, K)`` of what is left out of the comparison.
        counted: by channel, 1 for feature channels that are compared and 0 for others, ``(N, C, 1,
            1)``.
    """

    observed: Mapping[Channel, Tensor]
    distance: Distance = "l2"
    scale: Mapping[Channel, Tensor] = field(default_factory=dict)
    nuisance: Mapping[Channel, Tensor] = field(default_factory=dict)
    counted: Mapping[Channel, Tensor] = field(default_factory=dict)

    def scaled_by(self, reference: Mapping[Channel, Tensor]) -> Match:
        """The same with squared differences over those of ``reference``, so that it is 1 there.

        Where the reference has next to no difference, over next to nothing of the observed
        features' own square.
        """
        scale = {}
        for channel, seen in self.observed.items():
            least = 1e-12 * seen.flatten(1).square().mean(1) + TINY
            difference = self._compared(channel, reference[channel].detach().float() - seen, None)
            scale[channel] = torch.maximum(difference.square().mean(1), least)
        return replace(self, scale=scale)

    def __call__(self, sent: Mapping[Channel, Tensor], rows: Tensor | None = None) -> Tensor:
        """The distance of each row, ``(N,)``; of some ``rows`` of the observed ones alone, if asked."""
        parts = []
        for channel, observed in self.observed.items():
            guess, seen = sent[channel].float(), _some(observed, rows)
            if self.distance == "cosine":
                first = self._compared(channel, guess, rows)
                second = self._compared(channel, seen, rows)
                parts.append(1 - torch.nn.functional.cosine_similarity(first, second, dim=1))
                continue
            difference = self._compared(channel, guess - seen, rows).square().mean(1)
            parts.append(
                difference / _some(self.scale[channel], rows)
                if channel in self.scale
                else difference
            )
        return torch.stack(parts).sum(0)

    def _compared(self, channel: Channel, tensor: Tensor, rows: Tensor | None) -> Tensor:
        """The part of ``(N, ...)`` that counts, flat."""
        if channel in self.counted:
            tensor = tensor * _some(self.counted[channel], rows)
        if channel in self.nuisance:
            tensor = project_out(tensor, _some(self.nuisance[channel], rows))
        return tensor.flatten(1)


def _some(tensor: Tensor, rows: Tensor | None) -> Tensor:
    return tensor if rows is None else tensor[rows]
