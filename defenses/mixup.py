"""Mixup: train on weighted means of two records of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.interfaces import Card, Defense, Params


class MixupParams(Params):
    """Sets the distribution of the weights.

    Attributes:
        alpha: both parameters of the Beta distribution from which the weight of a row is drawn. The
            row's record always gets the larger share.
    """

    alpha: float = Field(default=1.0, gt=0)


class Mixup(Defense):
    """Replaces latents, condition and prompt states by w own + (1 - w) partner.

    Noise is added after mixing, so x_t has the noise level of t, and the noise target is the noise
    itself: the task is still denoising, of mixed pictures under mixed conditions. The partner is
    another record of the batch. The ground truth of a row is the record whose share w is at least a
    half.
    """

    name = "mixup"
    Params = MixupParams
    params: MixupParams
    card = Card(
        summary="Trains on weighted means of two records of a batch: latents, conditions and "
        "prompt states.",
        source="Zhang et al., arXiv:1710.09412; a comparison of arXiv:2409.08503",
        needs="batches of two or more; a record that is alone in its batch is sent unmixed",
        cost="none in bytes",
        notes="Acts on the split client alone. A record is in two rows of a step, which doubles "
        "its releases, so a stack with mixup states no guarantee. Adaptive attack: the closed form "
        "recovers the mixed latents exactly; then unmixing across the rows and epochs that share a "
        "record, or with a prior (Carlini et al., arXiv:2011.05315, on InstaHide).",
    )

    def mixed_records(self) -> int | None:
        return 2

    def prepare(self, private: Mapping[str, Tensor], rng: torch.Generator) -> Mapping[str, Tensor]:
        count = len(private["image_latents"])
        if count < 2:
            return private
        shift = int(torch.randint(1, count, (1,), generator=rng))
        seed = int(torch.randint(2**31, (1,), generator=rng))
        drawn = torch.from_numpy(
            np.random.default_rng(seed).beta(self.params.alpha, self.params.alpha, count)
        )
        own = torch.maximum(drawn, 1 - drawn).float()
        return {name: _mix(tensor, own.to(tensor), shift) for name, tensor in private.items()}


def _mix(tensor: Tensor, own: Tensor, shift: int) -> Tensor:
    weight = own.view(-1, *[1] * (tensor.ndim - 1))
    return weight * tensor + (1 - weight) * tensor.roll(shift, 0)
