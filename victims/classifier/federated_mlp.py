"""FedSGD over a classifier whose first layer is linear on the pixels.

Exact gradient attacks are validated on this victim.
"""

from __future__ import annotations

from bench.interfaces import Card
from victims.classifier.federated_classifier import FederatedClassifier, FederatedClassifierParams
from victims.classifier.parts.small_networks import Network


class FederatedMLPParams(FederatedClassifierParams):
    """Sets the parameters of ``federated-classifier`` with ``network=mlp`` as the default."""

    network: Network = "mlp"


class FederatedMLP(FederatedClassifier):
    """Names ``federated-classifier:network=mlp`` as a separate victim."""

    name = "federated-mlp"
    Params = FederatedMLPParams
    params: FederatedMLPParams
    card = Card(
        summary="FedSGD over one hidden ReLU layer on the pixels; otherwise federated-classifier.",
        source="FedSGD: McMahan et al., arXiv:1602.05629; the network of arXiv:2003.14053, "
        "proposition 3.1",
        needs="records with the attribute that is the label (or label=identity)",
        cost="seconds; an update holds about 50,000 numbers",
        notes="An update on a single record determines the record without any optimisation.",
    )
