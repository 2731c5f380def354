"""PRECODE: a variational bottleneck in the client's network, whose noise obscures gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from bench.interfaces import Card, Defense, InsertedLayers, Params, generator

ENCODER, DECODER = "bottleneck.encoder", "bottleneck.decoder"


class PrecodeParams(Params):
    """Sets the size of the bottleneck and the weight of its loss.

    Attributes:
        width: K, how many numbers the bottleneck has.
        beta: weight, in the client's loss, of the bottleneck's divergence from a standard normal
            distribution.
    """

    width: int = Field(default=256, ge=1)
    beta: float = Field(default=1e-3, ge=0)


class Bottleneck(InsertedLayers):
    """Encodes features z as a normal distribution, draws b from it, and decodes features from b.

    b = mu + exp(log-variance / 2) * noise. The loss is beta * KL(N(mu, variance) || N(0, 1)),
    summed over the numbers of b and averaged over records (Scheliga et al., arXiv:2108.04725,
    section 3; Kingma and Welling, arXiv:1312.6114).
    """

    behind_noise = frozenset({f"{DECODER}.weight", f"{DECODER}.bias"})

    def __init__(self, width: int, beta: float) -> None:
        self.noise, self._beta = width, beta

    def initial_weights(self, features: int) -> dict[str, Tensor]:
        rng = generator(0, "precode")
        shapes = {ENCODER: (2 * self.noise, features), DECODER: (features, self.noise)}
        weights = {}
        for name, (outputs, inputs) in shapes.items():
            bound = 1 / math.sqrt(inputs)
            weights[f"{name}.weight"] = (
                2 * torch.rand((outputs, inputs), generator=rng) - 1
            ) * bound
            weights[f"{name}.bias"] = (2 * torch.rand((outputs,), generator=rng) - 1) * bound
        return weights

    def apply(
        self, weights: Mapping[str, Tensor], features: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        encoded = functional.linear(
            features, weights[f"{ENCODER}.weight"], weights[f"{ENCODER}.bias"]
        )
        mean, log_variance = encoded.chunk(2, 1)
        drawn = mean + (log_variance / 2).exp() * noise
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        rebuilt = functional.linear(drawn, weights[f"{DECODER}.weight"], weights[f"{DECODER}.bias"])
        return rebuilt, self._beta * divergence


class Precode(Defense):
    """Inserts a variational bottleneck before the output layer of the client's network."""

    name = "precode"
    Params = PrecodeParams
    params: PrecodeParams
    card = Card(
        summary="Puts a variational bottleneck before the output layer of the network that a "
        "client trains.",
        source="Scheliga et al., arXiv:2108.04725",
        needs="a client that trains a whole classifier, such as federated-classifier",
        cost="3 K D more weights for D features, trained and sent with the others",
        notes="Utility is measured with the bottleneck's mean, without noise. The updates of "
        "layers before it are sent unchanged: a linear first layer still reveals a record.",
    )

    def insertion(self) -> InsertedLayers:
        return Bottleneck(self.params.width, self.params.beta)
