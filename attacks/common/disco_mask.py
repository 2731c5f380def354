"""Reads off a release which feature channels a client has pruned."""

from __future__ import annotations

from torch import Tensor

from attacks.common.undo.inverse import known_parts
from bench.interfaces import CONTROL_FEATURES, View

EMPTY = 1e-3
"""Share of a release's mean size below which a channel counts as pruned; pruned ones are 0."""


def kept_channels(view: View) -> Tensor | None:
    """Return 1 for channels of ``control_features`` that were not pruned, ``(T, C, 1, 1)``.

    None where no defence is known to prune: a channel that is 0 by itself says that the record
    makes it so.
    """
    prunes = any(part.prunes_channels(CONTROL_FEATURES) for part in known_parts(view))
    if not prunes or not view.has(CONTROL_FEATURES):
        return None
    size = view.read(CONTROL_FEATURES).float().abs().mean((2, 3))
    return (size > EMPTY * size.mean(1, keepdim=True)).float()[:, :, None, None]


def assume_kept(view: View, kept: Tensor) -> None:
    """Make the attacker's copy of the defence prune the channels most often pruned in view.

    Args:
        kept: of ``kept_channels``.
    """
    share = kept.flatten(1).mean(0).to(view.public.device)
    for part in known_parts(view):
        if part.prunes_channels(CONTROL_FEATURES):
            part.assume_kept(CONTROL_FEATURES, share)
