"""Choice of a search's weight of total variation on auxiliary pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from attacks.features.search.knowledge import Knowledge, own_pictures
from bench.interfaces import Estimate, Records
from bench.interfaces.public_forward import PIXELS
from bench.metrics.structural_similarity import WINDOW, ssim

WEIGHTS = (0.0, 0.1, 1.0, 10.0)
"""Weights of total variation that are tried, beside a distance that is 1 at the first guess."""
TRIALS = 16
"""Auxiliary records that each weight is tried on."""


def choose_tv_weight(
    knowledge: Knowledge,
    auxiliary: Records,
    search: Callable[[Knowledge, float], Mapping[str, Tensor]],
) -> float:
    """Return the weight whose search comes nearest to auxiliary pictures behind the same defence.

    Weights are tried only where pixels alone enter the client and the wire is as the public defence
    makes it; otherwise the weight is 0. What shredder and disco have learned is subtracted from the
    targets first, and the attacker has no copy of it to send auxiliary pictures through.

    Args:
        knowledge: what is known of the targets.
        auxiliary: the attacker's records.
        search: returns inputs by name, ``(n, *shape)``, from what is known of n records and a
            weight.
    """
    forward = knowledge.forward
    if not len(auxiliary) or set(forward.inputs()) != {PIXELS} or knowledge.learned:
        return 0.0
    _, pixels = own_pictures(forward, auxiliary.select(range(min(TRIALS, len(auxiliary)))))
    device = next(forward.stem.parameters()).device
    with torch.no_grad():
        sent = forward.send({PIXELS: pixels.to(device)}, torch.Generator().manual_seed(0))
    observed = {channel: sent[channel].float().cpu() for channel in knowledge.observed}
    tried = Knowledge(forward, observed, known={}, free=knowledge.free, warm={}, nuisance={})
    truth = forward.estimates({PIXELS: pixels})["image"]
    scores = {
        weight: _likeness(forward.estimates(search(tried, weight))["image"], truth)
        for weight in WEIGHTS
    }
    return max(scores, key=scores.__getitem__)


def _likeness(claim: Estimate, truth: Estimate) -> float:
    """Return the mean SSIM of the claimed pictures, which separates grain from structure.

    Squared error hardly does. For pictures smaller than SSIM's window it is the negative squared
    error.
    """
    if min(truth.images.size) < WINDOW:
        return -float((claim.images.pixels - truth.images.pixels).square().mean())
    return float(ssim(claim.images, truth.images).mean())
