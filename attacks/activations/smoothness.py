"""How much smoothness a search should ask for, tried out on the attacker's own pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from attacks.activations.knowledge import Knowledge
from bench.channels import CONTROL_FEATURES
from bench.images import ImageBatch
from bench.interfaces import Estimate
from bench.metrics.ssim import WINDOW, ssim
from bench.public_forward import PIXELS
from bench.records import Records
from bench.threat import View

WEIGHTS = (0.0, 0.1, 1.0, 10.0)
"""Of total variation, beside a distance that is 1 at the first guess."""
TRIALS = 16
"""Auxiliary records that each weight is tried on."""


def smoothest(
    seen: Knowledge,
    view: View,
    search: Callable[[Knowledge, int, float], Mapping[str, Tensor]],
) -> float:
    """The weight whose search comes nearest to auxiliary pictures behind the same defence; 0 where none can be tried.

    Tried only where pixels alone enter the client and the wire is as the public defence makes it: what shredder and
    disco have learned is taken off the targets first, and the attacker has no copy of that.

    Args:
        search: inputs by name, ``(n, *shape)``, from what is known of n records and a weight.
    """
    auxiliary = view.public.auxiliary
    if not len(auxiliary) or set(seen.forward.inputs()) != {PIXELS} or seen.counted:
        return 0.0
    if not torch.equal(seen.observed[CONTROL_FEATURES], view.read(CONTROL_FEATURES).float()):
        return 0.0
    truth = _pictures(auxiliary.select(range(min(TRIALS, len(auxiliary)))), seen.forward.inputs()[PIXELS].shape[-1])
    device = next(seen.forward.stem.parameters()).device
    with torch.no_grad():
        sent = seen.forward.send({PIXELS: truth.to(device)}, torch.Generator().manual_seed(0))
    tried = Knowledge(
        seen.forward, {c: sent[c].float().cpu() for c in seen.observed}, known={}, free=seen.free, warm={}, nuisance={}
    )
    scores = [_likeness(search(tried, len(truth), weight)[PIXELS].cpu(), truth) for weight in WEIGHTS]
    return WEIGHTS[max(range(len(WEIGHTS)), key=scores.__getitem__)]


def _likeness(found: Tensor, truth: Tensor) -> float:
    """Mean SSIM, which tells grain from structure where squared error hardly does; that error, negated, of pictures
    smaller than SSIM's window."""
    if truth.shape[-1] < WINDOW:
        return -float((found - truth).square().mean())
    claims = (Estimate(ImageBatch(pixels.clamp(0, 1))) for pixels in (found, truth))
    return float(ssim("reconstruction", *claims).mean())


def _pictures(records: Records, size: int) -> Tensor:
    pixels = records.image_batch().pixels
    return functional.avg_pool2d(pixels, pixels.shape[-1] // size)
