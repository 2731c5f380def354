"""How much smoothness a search should ask for, tried out on the attacker's own pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from attacks.features.search.knowledge import Knowledge, own_pictures
from bench.interfaces import Estimate, Records
from bench.interfaces.public_forward import PIXELS
from bench.metrics.structural_similarity import WINDOW, ssim

WEIGHTS = (0.0, 0.1, 1.0, 10.0)
"""Of total variation, beside a distance that is 1 at the first guess."""
TRIALS = 16
"""Auxiliary records that each weight is tried on."""


def smoothest(
    seen: Knowledge, auxiliary: Records, search: Callable[[Knowledge, float], Mapping[str, Tensor]]
) -> float:
    """The weight whose search comes nearest to auxiliary pictures behind the same defence; 0 where
    none can be tried.

    Tried only where pixels alone enter the client and the wire is as the public defence makes it:
    what shredder and disco have learned is taken off the targets first, and the attacker has no
    copy of that.

    Args:
        search: inputs by name, ``(n, *shape)``, from what is known of n records and a weight.
    """
    forward = seen.forward
    if not len(auxiliary) or set(forward.inputs()) != {PIXELS} or seen.learned:
        return 0.0
    _, pixels = own_pictures(forward, auxiliary.select(range(min(TRIALS, len(auxiliary)))))
    device = next(forward.stem.parameters()).device
    with torch.no_grad():
        sent = forward.send({PIXELS: pixels.to(device)}, torch.Generator().manual_seed(0))
    observed = {channel: sent[channel].float().cpu() for channel in seen.observed}
    tried = Knowledge(forward, observed, known={}, free=seen.free, warm={}, nuisance={})
    truth = forward.estimates({PIXELS: pixels})["image"]
    scores = {
        weight: _likeness(forward.estimates(search(tried, weight))["image"], truth)
        for weight in WEIGHTS
    }
    return max(scores, key=scores.__getitem__)


def _likeness(claim: Estimate, truth: Estimate) -> float:
    """Mean SSIM of the pictures that would be claimed, which tells grain from structure where
    squared error hardly does; that error, negated, of pictures smaller than SSIM's window."""
    if min(truth.images.size) < WINDOW:
        return -float((claim.images.pixels - truth.images.pixels).square().mean())
    return float(ssim(claim.images, truth.images).mean())
