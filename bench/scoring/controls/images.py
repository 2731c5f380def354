"""Reconstructions that need no attack: what every number is held against."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from bench.interfaces.public import Codec
from bench.types.estimate import Estimate
from bench.types.images import ImageBatch
from bench.types.records import Records
from bench.util.errors import BenchError
from bench.util.rng import generator

TYPICAL = "typical"  # of prompts, the one most like the others
MAJORITY = "majority"  # of attributes, how often each value is met in public
SHUFFLED = "shuffled"  # of attributes and identities, the very claim, dealt out to records of other identities
BLIND = (
    "mean",
    TYPICAL,
    MAJORITY,
    "random",
    SHUFFLED,
)  # see nothing of the record: the best of them is the floor
NEAREST = "nearest"  # the auxiliary record closest to the truth: public luck, a stricter reference
ORACLE = "oracle"  # the truth through the public autoencoder: the ceiling


def pictures(records: Records, target: str) -> ImageBatch:
    """The records' images or conditions.

    Raises:
        BenchError: another target.
    """
    if target == "image":
        return records.image_batch()
    if target == "condition":
        return records.condition_batch()
    raise BenchError(f"no pictures for target {target!r}")


def controls(
    target: str, truth: Estimate, auxiliary: Records, codec: Codec | None, *, seed: int
) -> Mapping[str, Estimate]:
    """Estimates by control name; all but the oracle are made of auxiliary records alone.

    * ``mean``: the mean auxiliary picture for every record.
    * ``random``: one auxiliary record each, drawn with ``seed``.
    * ``nearest``: the auxiliary record of least squared error to the truth. It is chosen with the
    truth in hand, so it
      bounds what any look-up in public data could bring.
    * ``oracle``: the truth, encoded and decoded; left out where there is no codec.
    """
    pool = pictures(auxiliary, target)
    count = len(truth.images)
    draw = torch.randint(0, len(pool), (count,), generator=generator(seed, "control", target))
    flat_pool, flat_truth = pool.pixels.flatten(1), truth.images.pixels.flatten(1)
    nearest = torch.cdist(flat_truth, flat_pool).argmin(1)
    chosen = {
        "mean": ImageBatch.clamped(pool.pixels.mean(0, keepdim=True)).take([0] * count),
        "random": pool.take(draw),
        NEAREST: pool.take(nearest),
    }
    if codec is None:
        return {name: Estimate(images) for name, images in chosen.items()}
    estimates = {
        name: Estimate(images, codec.encode(images).cpu()) for name, images in chosen.items()
    }
    # The wire carries a draw from the posterior; decoding that very draw is what a perfect attack
    # gets.
    latents = truth.latents if truth.latents is not None else codec.encode(truth.images)
    estimates[ORACLE] = Estimate(codec.decode(latents), latents.cpu())
    return estimates
