"""A defence that does one thing wrong, by the name of its parameter."""

from typing import Literal

import torch

from bench.interfaces import UNET_FEATURES, Card, Defense, Params


class BadDefenseParams(Params):
    how: Literal[
        "half",
        "int32",
        "shape",
        "none",
        "numpy",
        "nan",
        "in_place",
        "raise",
        "exit",
        "times",
        "noise",
        "global",
    ]


class BadDefense(Defense):
    name = "bad-defense"
    Params = BadDefenseParams
    card = Card(summary="Goes wrong in one way.", source="this project")

    def sample_timesteps(self, record_ids, schedule, rng):
        times = torch.randint(0, schedule.steps, (len(record_ids),), generator=rng)
        return times + schedule.steps if self.params.how == "times" else times

    def sample_noise(self, record_ids, shape, rng):
        noise = torch.randn(shape, generator=rng)
        return noise.double() if self.params.how == "noise" else noise

    def protect(self, channel, tensor, context):
        how = self.params.how
        if channel != UNET_FEATURES:
            return tensor
        if how == "raise":
            raise KeyError("sigma")
        if how == "exit":
            raise SystemExit(0)
        if how == "in_place":
            return tensor.detach().mul_(0.5)
        changed = {
            "half": tensor.half,
            "int32": tensor.int,
            "shape": lambda: tensor[:, :1],
            "none": lambda: None,
            "numpy": tensor.detach().numpy,
            "nan": lambda: tensor * float("nan"),
            "global": lambda: tensor + torch.randn(tensor.shape),
        }
        return changed[how]() if how in changed else tensor
