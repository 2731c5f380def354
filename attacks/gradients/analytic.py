"""Exact recovery from the gradient of a linear layer (arXiv:2003.14053, proposition 3.1)."""

from __future__ import annotations

import math

import torch

from attacks.gradients.engine.claims import claim_of
from attacks.gradients.engine.labels import label_name
from attacks.gradients.engine.linear_layer import ratios, separate
from attacks.gradients.engine.updates import Update, trainer_of, updates_in
from bench.interfaces import (
    CLIENT_UPDATE,
    GLOBAL_MODEL,
    Attack,
    Budget,
    Card,
    Certificate,
    Claim,
    NotApplicableError,
    Progress,
    PublicTrainer,
    View,
)


class Analytic(Attack):
    """Computes x = (dL/dW_i) / (dL/db_i) for a first layer y = W x + b, exact for one record.

    For several records a row gives a weighted mean of the records. It gives a single record where
    the row's neuron fired for that record alone, which is common with ReLU. Such rows agree with
    one another and are recognised by that.
    """

    name = "analytic"
    requires = frozenset({CLIENT_UPDATE, GLOBAL_MODEL})
    default_budget = Budget(iterations=0, batch_size=64)
    certificates = (
        Certificate(
            "federated-mlp", "fedsgd", "image", "ssim", 0.98, given=(("records_per_update", 1),)
        ),
        Certificate(
            "federated-classifier",
            "fedsgd",
            "image",
            "ssim",
            0.98,
            given=(("network", "linear"), ("records_per_update", 1)),
        ),
    )
    card = Card(
        summary=(
            "Divides the weight gradient of a linear first layer by its bias gradient, which is "
            "exactly the record."
        ),
        source=(
            "Geiping et al., arXiv:2003.14053, proposition 3.1; the idea of R-GAP, arXiv:2010.07733"
        ),
        needs=(
            "client_update of SGD clients whose first layer is linear on the record and has a bias"
        ),
        cost="none: one division per update",
        notes=(
            "Works for one local step only. For several records, a ReLU layer reveals those "
            "records that activate some neuron alone. Layers behind the first one do not matter, "
            "and neither does precode's bottleneck."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        trainer = trainer_of(view)
        updates = updates_in(view, trainer)
        name = _flat_input(trainer, updates[0])
        unknown, label = trainer.unknowns()[name], label_name(trainer)
        classes = None if label is None else trainer.unknowns()[label].shape[0]
        recovered, isolated = [], 0
        with progress.stage("dividing gradients", len(updates)) as advance:
            for update in updates:
                if update.records > trainer.local.batch_size:
                    raise NotApplicableError(
                        "several local steps are summed in one update; rows of one step are needed"
                    )
                clear = {n: t for n, t in update.gradient.items() if n not in trainer.behind_noise}
                rows, sizes = ratios(clear, width=math.prod(unknown.shape), classes=classes)
                pictures, alone = separate(
                    rows, sizes, update.records, low=unknown.low, high=unknown.high
                )
                isolated += alone
                recovered.append(pictures.reshape(-1, *unknown.shape))
                advance(1)
        return claim_of(
            trainer,
            updates,
            {name: recovered},
            {"records_isolated": isolated / sum(u.records for u in updates)},
        )


def _flat_input(trainer: PublicTrainer, update: Update) -> str:
    """Return the name of the input that a linear layer of the update takes flattened.

    Raises:
        NotApplicableError: no linear layer sees the whole record unprocessed.
    """
    # Where there is a trained convolution it comes first, and a linear layer behind it does not see
    # the record.
    behind = any(t.ndim == 4 for t in update.gradient.values())
    widths = {t.shape[1] for t in update.gradient.values() if t.ndim == 2 and not behind}
    for name, unknown in trainer.unknowns().items():
        if len(unknown.shape) == 3 and math.prod(unknown.shape) in widths:
            return name
    raise NotApplicableError(
        "no layer of the client is linear on the whole record and has a bias; behind convolutions "
        "only the linear layer's input could be read, which is not a picture"
    )
