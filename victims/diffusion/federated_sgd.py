"""FedSGD over the ControlNet: the federated victim whose updates are gradients."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bench.interfaces import Card
from victims.diffusion.federated import Federated, FederatedParams


class FederatedSgdParams(FederatedParams):
    """Sets the parameters of ``federated`` with one record per update and SGD as defaults."""

    records_per_update: int = Field(default=1, ge=0)
    optimizer: Literal["adamw", "sgd"] = "sgd"


class FederatedSgd(Federated):
    """Names ``federated:records_per_update=1,optimizer=sgd`` as a separate victim."""

    name = "federated-sgd"
    Params = FederatedSgdParams
    params: FederatedSgdParams
    card = Card(
        summary="FedSGD over the whole ControlNet; each update is -lr times the gradient on one "
        "record.",
        source="FedSGD: McMahan et al., arXiv:1602.05629, section 2",
        needs="a model that split-controlnet takes",
        cost="bytes: the whole ControlNet, down and up, for each update",
        notes="Gradient attacks are validated on this victim; records_per_update gives larger "
        "batches. In the first round all gradients except those of zero convolutions vanish.",
    )
