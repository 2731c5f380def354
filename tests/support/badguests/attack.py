"""An attack that does one thing wrong, by the name of its parameter."""

import os
import random
import sys
import time
from typing import Literal

import numpy as np
import torch
from badguests.helper import SCALE

from bench.interfaces import Attack, Card, Claim, Estimate, ImageBatch, Params

VAIN = {"ssim": 0.99, "ssim_normalized": 1.0, "utility_fid": 0.0, "n": 1000, "seed": 7}


class BadAttackParams(Params):
    how: Literal[
        "nothing", "vain", "taken", "text", "tensor", "twice", "infinite", "names", "changes",
        "changes_labels", "nan", "nan_pixels", "torch", "numpy", "python", "exit", "os_exit",
        "hang", "raise", "assert", "dict", "none", "raw", "grad", "size", "unknown",
    ] = "nothing"  # fmt: skip
    groups: tuple[int, ...] = ()
    words: tuple[str, ...] = ()


class BadAttack(Attack):
    name = "bad-attack"
    Params = BadAttackParams
    card = Card(summary="Goes wrong in one way.", source="this project")

    def run(self, view, *, rng, budget, progress):
        how, count = self.params.how, len(view.targets)
        auxiliary = view.public.auxiliary
        images = ImageBatch(
            SCALE * auxiliary.image_batch().pixels[torch.arange(count) % len(auxiliary)]
        )
        claim = {"image": Estimate(images)}
        if how == "changes":
            auxiliary.images.zero_()
        if how == "changes_labels":
            auxiliary.attributes[0]["hair"] = "none at all"
        if how == "nan":
            shape = view.public.codec.encode(images).shape
            claim = {"image": Estimate(view.public.codec.decode(torch.full(shape, float("nan"))))}
        if how == "nan_pixels":
            claim = {"image": Estimate(ImageBatch.clamped(images.pixels * float("nan")))}
        if how in ("torch", "numpy", "python"):
            draws = {
                "torch": lambda: float(torch.rand(())),
                "numpy": np.random.rand,
                "python": random.random,
            }
            claim = {"image": Estimate(ImageBatch(images.pixels * draws[how]()))}
        if how == "exit":
            sys.exit(0)
        if how == "os_exit":
            os._exit(0)
        while how == "hang":
            try:
                while True:
                    time.sleep(0.05)
                    with progress.stage("busy", 1) as advance:
                        advance(1)
            except:  # noqa: E722
                pass
        if how == "raise":
            raise ValueError("first line\nsecond line")
        if how == "assert":
            assert count == 0
        if how == "grad":
            claim = {"image": Estimate(ImageBatch(images.pixels.clone().requires_grad_()))}
        if how == "size":
            claim = {"image": Estimate(ImageBatch(images.pixels[..., :8, :8]))}
        if how == "unknown":
            claim = {"face": Estimate(images)}
        if how == "raw":
            claim = {"image": images.pixels}
        odd = {
            "vain": VAIN,
            "taken": {"seconds": 0.0},
            "text": {"loss": "small"},
            "tensor": {"loss": torch.zeros(())},
            "twice": {"loss": 1.0, "attack_loss": 2.0},
            "infinite": {"loss": float("inf")},
            "names": {"Loss last": 1.0},
        }
        if how == "dict":
            return claim
        return None if how == "none" else Claim(claim, odd.get(how, {}))
