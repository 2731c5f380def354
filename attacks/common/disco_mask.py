"""What a release tells of the channels that a client has pruned."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.interfaces import CONTROL_FEATURES, View

DISCO = "disco"
EMPTY = 1e-3
"""A channel whose mean size is below this share of its release's mean counts as pruned; a pruned one is exactly 0."""


def kept_channels(view: View) -> Tensor | None:
    """1 for channels of the targets' ``control_features`` that say something, ``(T, C, 1, 1)``.

    None where no defence is known to prune: a channel that is 0 by itself says that the record
    makes it so.
    """
    known = view.public.defense
    if (
        known is None
        or not any(single.name == DISCO for single in known.flat())
        or not view.has(CONTROL_FEATURES)
    ):
        return None
    size = view.read(CONTROL_FEATURES).float().abs().mean((2, 3))
    return (size > EMPTY * size.mean(1, keepdim=True)).float()[:, :, None, None]


def prune_alike(view: View, kept: Tensor) -> None:
    """Make the attacker's own copy of the defence prune the channels that are most often pruned in
    view.

    Its filter gets scores that do not depend on the record: how often each channel was kept.
    """
    assert view.public.defense is not None
    often = kept.flatten(1).mean(0).to(view.public.device)
    for name, part in view.public.defense.trained_parts().items():
        if name.endswith(f"-{DISCO}"):
            part.restore(
                {
                    "weight": torch.zeros(len(often), 2 * len(often), device=often.device),
                    "bias": often,
                }
            )
