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
    """Maps pictures to classes, as a function of named weights.

    Attributes:
        network: ``lenet``: four convolutions 5x5 of 12 channels, then a linear head
            (arXiv:1906.08935, section 4, which removes all strides; here the first stays 2, so
            that the head has as many inputs as a picture has numbers). ``mlp``: one hidden layer
            on the pixels, then the head. ``linear``: the head on the pixels.
        activation: the function after each layer but the head.
        size: height and width of the pictures, even.
        classes: how many classes there are.
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
        """Return the number of the head's inputs."""
        by_network = {
            "lenet": WIDTH * (self.size // 2) ** 2,
            "mlp": self.hidden,
            "linear": 3 * self.size**2,
        }
        return by_network[self.network]

    def initial_weights(self, seed: int) -> dict[str, Tensor]:
        """Return public initial weights by name.

        They are uniform: in [-0.5, 0.5] for ``lenet``, as in DLG, else within 1 / sqrt(inputs).
        """
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
        """Return features ``(B, features)`` of pictures ``(B, 3, size, size)`` in [0, 1].

        Inserted layers are not applied.
        """
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
        """Return the head's inputs ``(B, features)`` and the loss of inserted layers or None.

        Args:
            weights: the weights by name.
            pixels: pictures ``(B, 3, size, size)`` in [0, 1].
            noise: noise of inserted layers, ``(B, noise)``; None is zero noise.
        """
        features = self.represent(weights, pixels)
        if self.insertion is None:
            return features, None
        if noise is None:
            noise = features.new_zeros(len(features), self.insertion.noise)
        return self.insertion.apply(weights, features, noise)

    def logits(self, weights: Mapping[str, Tensor], pixels: Tensor) -> Tensor:
        """Return the logits ``(B, classes)`` of pictures, without noise."""
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
        """Return the mean cross-entropy plus the loss of inserted layers.

        Args:
            weights: the weights by name.
            pixels: pictures ``(B, 3, size, size)`` in [0, 1].
            label: soft labels ``(B, classes)``.
            noise: noise of inserted layers, ``(B, noise)``; None is zero noise.
        """
        entering, extra = self.into_head(weights, pixels, noise)
        logits = functional.linear(entering, weights[HEAD], weights["head.bias"])
        loss = -(label * functional.log_softmax(logits, 1)).sum(1).mean()
        return loss if extra is None else loss + extra
