"""FedSGD over the ControlNet: the federated victim whose updates are gradients."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bench.interfaces import Card
from victims.diffusion.federated import Federated, FederatedParams


class FederatedSgdParams(FederatedParams):
    """Those of ``federated``, with one record an update and SGD to begin with."""

    records_per_update: int = Field(default=1, ge=0)
    optimizer: Literal["adamw", "sgd"] = "sgd"


class FederatedSgd(Federated):
    """``federated:records_per_update=1,optimizer=sgd`` under a name of its own."""

    name = "federated-sgd"
    Params = FederatedSgdParams
    params: FederatedSgdParams
    card = Card(
        summary="FedSGD over the whole ControlNet; each update is -lr times the gradient on one record.",
        source="FedSGD: McMahan et al., arXiv:1602.05629, section 2",
        needs="the same models as split-controlnet",
        cost="bytes: the whole ControlNet, down and up, an update",
        notes="What attacks on gradients are proven on; records_per_update gives larger batches. In the first round "
        "all gradients but those of zero convolutions vanish.",
    )
