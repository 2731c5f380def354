"""Computes reconstructions that need no attack, between which every score is placed."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from bench.interfaces.public import Codec
from bench.types.estimate import Estimate
from bench.types.images import ImageBatch
from bench.types.records import Records
from bench.util.errors import BenchError
from bench.util.rng import generator

TYPICAL = "typical"  # for prompts: the auxiliary prompt that is most like the others
MAJORITY = "majority"  # for attributes: the frequency of each value among auxiliary records
SHUFFLED = "shuffled"  # for attributes and identities: the claims, given to other identities
# These controls see nothing of the record; the best of them is the floor.
BLIND = ("mean", TYPICAL, MAJORITY, "random", SHUFFLED)
NEAREST = "nearest"  # the auxiliary record closest to the truth: stricter than the floor
ORACLE = "oracle"  # the truth through the public autoencoder: the ceiling


def pictures(records: Records, target: str) -> ImageBatch:
    """Return the records' images or conditions.

    Raises:
        BenchError: the target is neither ``image`` nor ``condition``.
    """
    if target == "image":
        return records.image_batch()
    if target == "condition":
        return records.condition_batch()
    raise BenchError(f"no pictures for target {target!r}")


def image_controls(
    target: str, truth: Estimate, auxiliary: Records, codec: Codec | None, *, seed: int
) -> Mapping[str, Estimate]:
    """Return estimates by control name; all but the oracle use auxiliary records alone.

    * ``mean``: the mean auxiliary picture for every record.
    * ``random``: one auxiliary record for each record, drawn with ``seed``.
    * ``nearest``: the auxiliary record of least squared error to the truth. Choosing it requires
      the truth, so it bounds what any search in public data can achieve.
    * ``oracle``: the truth, encoded and decoded; absent where there is no codec.
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
    # The wire carries one sample of the posterior; a perfect attack decodes exactly that sample.
    latents = truth.latents if truth.latents is not None else codec.encode(truth.images)
    estimates[ORACLE] = Estimate(codec.decode(latents), latents.cpu())
    return estimates
