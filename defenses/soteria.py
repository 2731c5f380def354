"""Soteria: keep the features that reveal most about a record out of the head's gradient."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from bench.interfaces import Card, Defense, Params, ProtectContext, RequestError, UpdateProtection


class SoteriaParams(Params):
    """Sets how many features are protected.

    Attributes:
        share: share of the head's inputs whose gradient is not sent.
    """

    share: float = Field(default=0.4, ge=0, lt=1)


class Soteria(Defense):
    """Zeroes the columns of the head's gradient that belong to the most revealing features.

    Those are the features with the largest ||dr_i/dx|| / |r_i|: to remove them is the perturbation
    of the representation r that moves the reconstruction most while it changes r least (Sun et
    al.). Only the head's update is changed, as in the paper's prototype; over several records the
    ratio is averaged.
    """

    name = "soteria"
    Params = SoteriaParams
    params: SoteriaParams
    card = Card(
        summary="Keeps the most revealing features out of the update of the linear head (default "
        "40 % of its columns).",
        source="Sun et al., arXiv:2012.06043",
        needs="a client whose model ends in a linear head, such as federated-classifier",
        cost="the gradient of every feature with respect to every record, for each update",
        notes="Acts on client_update alone. The updates of layers before the head are sent whole, "
        "and an attacker who ignores the masked columns can use them. The choice of columns "
        "depends on the records, so stacked after clip-noise it would void that statement: stack "
        "it before.",
    )

    def update_protection(self) -> UpdateProtection | None:
        return UpdateProtection(masked=True)

    def protect_update(
        self, update: Mapping[str, Tensor], context: ProtectContext
    ) -> dict[str, Tensor]:
        representation = context.representation
        if representation is None:
            raise RequestError(
                "soteria protects the inputs of a linear head; this client's model has no linear "
                "head, use federated-classifier"
            )
        features, sensitivity = representation.measure()
        ratio = (sensitivity / features.abs().clamp_min(1e-12)).mean(0)
        hidden = ratio.topk(int(self.params.share * len(ratio))).indices
        protected = {name: tensor.clone() for name, tensor in update.items()}
        protected[representation.head][:, hidden] = 0
        return protected
