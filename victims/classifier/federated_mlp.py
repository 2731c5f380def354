"""The federated classifier whose first layer is linear on the pixels: the victim that exact attacks are proven on."""

from __future__ import annotations

from bench.interfaces import Card
from victims.classifier.federated_classifier import FederatedClassifier, FederatedClassifierParams
from victims.classifier.parts.small_networks import Network


class FederatedMLPParams(FederatedClassifierParams):
    """Those of ``federated-classifier``, with another network to begin with."""

    network: Network = "mlp"


class FederatedMLP(FederatedClassifier):
    """``federated-classifier:network=mlp`` under a name of its own."""

    name = "federated-mlp"
    Params = FederatedMLPParams
    params: FederatedMLPParams
    card = Card(
        summary="FedSGD over one hidden ReLU layer on the pixels; otherwise federated-classifier.",
        source="FedSGD: McMahan et al., arXiv:1602.05629; the network of arXiv:2003.14053, proposition 3.1",
        needs="records with the attribute that is the label (or label=identity)",
        cost="seconds; an update holds about 50,000 numbers",
        notes="Its update gives a single record away without any optimisation.",
    )
