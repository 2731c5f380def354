"""The small classifiers of the gradient literature, as functions of named weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from bench.interfaces import InsertedLayers, generator

Network = Literal["lenet", "linear", "mlp"]
Activation = Literal["sigmoid", "relu", "tanh"]

HEAD = "head.weight"
WIDTH, KERNEL, STRIDES = 12, 5, (2, 1, 1, 1)
_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "tanh": torch.tanh,
}


@dataclass(frozen=True)
class Classifier:
    """A network from pictures to classes.

    Attributes:
        network: ``lenet``: four convolutions 5x5 of 12 channels, then a linear head
            (arXiv:1906.08935, section 4, which takes all strides out; here the first stays 2, so
            that as many numbers enter the head as a picture has). ``mlp``: one hidden layer on the
            pixels, then the head. ``linear``: the head on the pixels.
        size: height and width of the pictures, even.
        hidden: width of the ``mlp``'s hidden layer.
        insertion: a defence's layers before the head, or None.
    """

    network: Network
    activation: Activation
    size: int
    classes: int
    hidden: int
    insertion: InsertedLayers | None = field(default=None, repr=False)

    @property
    def features(self) -> int:
        """How many numbers enter the head."""
        by_network = {
            "lenet": WIDTH * (self.size // 2) ** 2,
            "mlp": self.hidden,
            "linear": 3 * self.size**2,
        }
        return by_network[self.network]

    def initial_weights(self, seed: int) -> dict[str, Tensor]:
        """Public first weights: uniform in [-0.5, 0.5] for ``lenet``, as DLG asks, else in +-1/sqrt(inputs)."""
        rng = generator(seed, "federated-classifier", self.network)
        shapes: dict[str, tuple[int, ...]] = {}
        if self.network == "lenet":
            channels = (3, *[WIDTH] * len(STRIDES))
            for i in range(len(STRIDES)):
                shapes[f"conv{i}.weight"] = (WIDTH, channels[i], KERNEL, KERNEL)
                shapes[f"conv{i}.bias"] = (WIDTH,)
        elif self.network == "mlp":
            shapes |= {
                "hidden.weight": (self.hidden, 3 * self.size**2),
                "hidden.bias": (self.hidden,),
            }
        shapes |= {HEAD: (self.classes, self.features), "head.bias": (self.classes,)}
        weights = {}
        for name, shape in shapes.items():
            inputs = math.prod(shapes[name.replace("bias", "weight")][1:])
            bound = 0.5 if self.network == "lenet" else 1 / math.sqrt(inputs)
            weights[name] = (2 * torch.rand(shape, generator=rng) - 1) * bound
        if self.insertion is not None:
            weights |= self.insertion.initial_weights(self.features)
        return weights

    def represent(self, weights: Mapping[str, Tensor], pixels: Tensor) -> Tensor:
        """The features ``(B, features)`` of pictures ``(B, 3, size, size)`` in [0, 1], before any inserted layers."""
        activation = _ACTIVATIONS[self.activation]
        if self.network == "lenet":
            for i, stride in enumerate(STRIDES):
                kernel, bias = weights[f"conv{i}.weight"], weights[f"conv{i}.bias"]
                pixels = activation(
                    functional.conv2d(pixels, kernel, bias, stride=stride, padding=KERNEL // 2)
                )
        flat = pixels.flatten(1)
        if self.network == "mlp":
            flat = activation(
                functional.linear(flat, weights["hidden.weight"], weights["hidden.bias"])
            )
        return flat

    def into_head(
        self, weights: Mapping[str, Tensor], pixels: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """What enters the head, ``(B, features)``, and what inserted layers add to the loss.

        Args:
            noise: of inserted layers, ``(B, noise)``; None is their mean.
        """
        features = self.represent(weights, pixels)
        if self.insertion is None:
            return features, None
        if noise is None:
            noise = features.new_zeros(len(features), self.insertion.noise)
        return self.insertion.apply(weights, features, noise)

    def logits(self, weights: Mapping[str, Tensor], pixels: Tensor) -> Tensor:
        """``(B, classes)``, without noise."""
        return functional.linear(
            self.into_head(weights, pixels)[0], weights[HEAD], weights["head.bias"]
        )

    def loss(
        self,
        weights: Mapping[str, Tensor],
        pixels: Tensor,
        label: Tensor,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Mean cross-entropy with soft labels ``(B, classes)``, and the loss of inserted layers."""
        entering, extra = self.into_head(weights, pixels, noise)
        logits = functional.linear(entering, weights[HEAD], weights["head.bias"])
        loss = -(label * functional.log_softmax(logits, 1)).sum(1).mean()
        return loss if extra is None else loss + extra
