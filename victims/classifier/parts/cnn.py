"""The six-convolution CIFAR network of He et al. (ACSAC 2019), cut after any of its layers."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Cut = Literal[
    "conv11",
    "relu11",
    "conv12",
    "relu12",
    "pool1",
    "conv21",
    "relu21",
    "conv22",
    "relu22",
    "pool2",
    "conv31",
    "relu31",
    "conv32",
    "relu32",
    "pool3",
]
CUTS: tuple[str, ...] = get_args(Cut)


class Centred(nn.Module):
    """Scales pixels in [0, 1] to about unit variance, as part of the network's first layer."""

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels - 0.5) / 0.25


def network(width: int, size: int, classes: int, seed: int) -> nn.Sequential:
    """Return the whole network with public initial weights.

    It maps pixels ``(B, 3, size, size)`` in [0, 1] to logits ``(B, classes)`` by three pairs of 3x3
    convolutions, each pair followed by 2x2 max pooling, and two linear layers. He et al. have
    ``width`` 64: 64 channels in the first pair, 128 in the others, 512 hidden units.

    Args:
        width: channels of the first pair of convolutions.
        size: height and width of the pictures, a multiple of 8.
        classes: how many classes there are.
        seed: seed of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        entering = 3
        for stage, leaving in enumerate((width, 2 * width, 2 * width), 1):
            for place in (1, 2):
                conv = nn.Conv2d(entering, leaving, 3, padding=1)
                layers[f"conv{stage}{place}"] = (
                    nn.Sequential(Centred(), conv) if entering == 3 else conv
                )
                layers[f"relu{stage}{place}"] = nn.ReLU()
                entering = leaving
            layers[f"pool{stage}"] = nn.MaxPool2d(2)
        layers["flatten"] = nn.Flatten()
        layers["fc1"] = nn.Linear(entering * (size // 8) ** 2, 8 * width)
        layers["relu_fc1"] = nn.ReLU()
        layers["fc2"] = nn.Linear(8 * width, classes)
        return nn.Sequential(layers)


def halves(whole: nn.Sequential, cut: str) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the client's layers, up to and including ``cut``, and the server's layers.

    Both share their weights with ``whole``.
    """
    layers = list(whole.named_children())
    count = [name for name, _ in layers].index(cut) + 1
    return nn.Sequential(OrderedDict(layers[:count])), nn.Sequential(OrderedDict(layers[count:]))
