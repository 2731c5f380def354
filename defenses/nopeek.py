"""NoPeek: train the client's features to correlate little with its pictures."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from bench.interfaces import CONTROL_FEATURES, Card, Channel, Defense, Params
from bench.metrics.dependence import distance_correlation


class NoPeekParams(Params):
    """Sets the weight of the additional loss.

    Attributes:
        weight: weight of the distance correlation in the client's loss.
    """

    weight: float = Field(default=1.0, ge=0)


class NoPeek(Defense):
    """Adds weight x dCor(condition, h_ctrl) to the loss of a client that trains its stem.

    dCor is the distance correlation over the batch.
    """

    name = "nopeek"
    Params = NoPeekParams
    params: NoPeekParams
    card = Card(
        summary="Trains the client's stem to lower the distance correlation between conditions and "
        "h_ctrl.",
        source="Vepakomma et al., arXiv:2008.09161, section 3",
        needs="a protocol whose client trains (gradient, u-shaped); has no effect in others",
        cost="one distance matrix a batch on the client, and the backward pass through it",
        notes="h_sd is frozen, so the picture still leaks through it. No guarantee: an injective "
        "stem can be inverted however low the correlation. Adaptive attack: a decoder trained on "
        "the defended stem, whose weights are sent.",
    )

    def client_loss(
        self, private: Mapping[str, Tensor], sent: Mapping[Channel, Tensor]
    ) -> Tensor | None:
        features = sent[CONTROL_FEATURES]
        if len(features) < 2 or not features.requires_grad:
            return None
        return self.params.weight * distance_correlation(private["condition"], features.float())
