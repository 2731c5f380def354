"""Soteria: the features that tell most about a record are kept out of the head's gradient."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from bench.interfaces import Card, Defense, Params, ProtectContext, RequestError


class SoteriaParams(Params):
    """Attributes:
    share: of the head's inputs whose gradient is not sent.
    """

    share: float = Field(default=0.4, ge=0, lt=1)


class Soteria(Defense):
    """Of the head's weight gradient, the columns of the features with the largest ||dr_i/dx|| /
    |r_i| become zero.

    The perturbation of the representation r that moves the reconstruction most while it changes r
    least keeps those features out (Sun et al.). Only the head's update is changed, as in the
    paper's prototype; over several records the ratio is averaged.
    """

    name = "soteria"
    Params = SoteriaParams
    card = Card(
        summary="Keeps the most telling features out of the update of the linear head (default 40 % of its columns).",
        source="Sun et al., arXiv:2012.06043; METHODS 7.11",
        needs="a client whose model ends in a linear head, such as federated-classifier",
        cost="the gradient of every feature with respect to every record, each update",
        notes="Acts on client_update alone. The layers before the head are sent whole, which an attacker who leaves "
        "the masked columns out makes use of. The choice of columns looks at the records, so behind clip-noise it "
        "would void that statement: stack it first.",
    )

    def protect_update(
        self, update: Mapping[str, Tensor], context: ProtectContext
    ) -> dict[str, Tensor]:
        shown = context.representation
        if shown is None:
            raise RequestError(
                "soteria protects what enters a linear head; this client's model has none"
            )
        features, sensitivity = shown.measure()
        ratio = (sensitivity / features.abs().clamp_min(1e-12)).mean(0)
        hidden = ratio.topk(int(self.params.share * len(ratio))).indices
        protected = {name: tensor.clone() for name, tensor in update.items()}
        protected[shown.head][:, hidden] = 0
        return protected
