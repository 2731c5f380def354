"""Distance between the features of a guess and the observed ones, row by row."""

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
        observed: by channel; all channels have equal weight.
        distance: ``l2`` is the mean squared difference (He et al., ACSAC 2019) over ``scale``;
            ``cosine`` is 1 - cosine of each row's features as one vector (DRAG, arXiv:2509.11724).
        scale: by channel, the squared difference that counts as 1, ``(N,)``.
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
        """Return the match with squared differences divided by those of ``reference``.

        The distance is then 1 at the reference. Where the reference has almost no difference, the
        scale is a tiny share of the observed features' square.
        """
        scale = {}
        for channel, target in self.observed.items():
            least = 1e-12 * target.flatten(1).square().mean(1) + TINY
            difference = self._compared(channel, reference[channel].detach().float() - target, None)
            scale[channel] = torch.maximum(difference.square().mean(1), least)
        return replace(self, scale=scale)

    def __call__(self, sent: Mapping[Channel, Tensor], rows: Tensor | None = None) -> Tensor:
        """Return the distance of each row, ``(N,)``.

        Args:
            sent: by channel, features of the guess.
            rows: the observed rows to compare with; None is all of them.
        """
        parts = []
        for channel, observed in self.observed.items():
            guess, target = sent[channel].float(), _rows(observed, rows)
            if self.distance == "cosine":
                first = self._compared(channel, guess, rows)
                second = self._compared(channel, target, rows)
                parts.append(1 - torch.nn.functional.cosine_similarity(first, second, dim=1))
                continue
            difference = self._compared(channel, guess - target, rows).square().mean(1)
            parts.append(
                difference / _rows(self.scale[channel], rows)
                if channel in self.scale
                else difference
            )
        return torch.stack(parts).sum(0)

    def _compared(self, channel: Channel, tensor: Tensor, rows: Tensor | None) -> Tensor:
        """Return the part of ``(N, ...)`` that is compared, flat."""
        if channel in self.counted:
            tensor = tensor * _rows(self.counted[channel], rows)
        if channel in self.nuisance:
            tensor = project_out(tensor, _rows(self.nuisance[channel], rows))
        return tensor.flatten(1)


def _rows(tensor: Tensor, rows: Tensor | None) -> Tensor:
    return tensor if rows is None else tensor[rows]
