"""A linear layer on the record gives it away: no optimisation (Geiping et al., arXiv:2003.14053, proposition 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.gradients.claims import claim_of
from attacks.gradients.labels import label_name
from attacks.gradients.linear_rows import ratios, separate
from attacks.gradients.updates import Update, trainer_of, updates_in
from bench.certificate import Certificate
from bench.channels import CLIENT_UPDATE, GLOBAL_MODEL
from bench.errors import NotApplicableError
from bench.interfaces import Attack, Budget, Claim
from bench.plugin import Card
from bench.progress import Progress
from bench.public_trainer import PublicTrainer
from bench.threat import View


class Analytic(Attack):
    """x = (dL/dW_i) / (dL/db_i) for a first layer y = W x + b, exact for one record.

    For several records a row gives a weighted mean of them, and a record itself where the row's neuron fired for it
    alone, as half-dead ReLU neurons often do; such rows agree with one another and stand out.
    """

    name = "analytic"
    requires = frozenset({CLIENT_UPDATE, GLOBAL_MODEL})
    default_budget = Budget(iterations=0, batch_size=64)
    certificates = (
        Certificate("federated-mlp", "fedsgd", "image", "ssim", 0.98, given=(("records_per_update", 1),)),
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
        summary="Divides a linear first layer's weight gradient by its bias gradient; the record comes out exactly.",
        source="Geiping et al., arXiv:2003.14053, proposition 3.1; the idea of R-GAP, arXiv:2010.07733",
        needs="client_update of SGD clients whose first layer is linear on the record, with a bias",
        cost="none: one division an update",
        notes="One local step only. For several records a ReLU layer gives back those that some neuron saw alone.",
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        trainer = trainer_of(view)
        updates = updates_in(view, trainer)
        name = _flat_input(trainer, updates[0])
        unknown, label = trainer.unknowns()[name], label_name(trainer)
        classes = None if label is None else trainer.unknowns()[label].shape[0]
        found, told = [], 0
        with progress.stage("dividing gradients", len(updates)) as advance:
            for update in updates:
                if update.records > trainer.local.batch_size:
                    raise NotApplicableError(
                        "several local steps are summed in one update; rows of one step are needed"
                    )
                rows, sizes = ratios(update.gradient, width=unknown_size(unknown.shape), classes=classes)
                pictures, isolated = separate(rows, sizes, update.records, low=unknown.low, high=unknown.high)
                told += isolated
                found.append(pictures.unflatten(1, unknown.shape))
                advance(1)
        inputs: dict[str, list[Tensor]] = {
            n: [torch.zeros(u.records, *known.shape) for u in updates] for n, known in trainer.unknowns().items()
        }
        inputs[name] = found
        return claim_of(trainer, updates, inputs, {"records_isolated": told / sum(u.records for u in updates)})


def unknown_size(shape: tuple[int, ...]) -> int:
    """How many numbers an input of this shape has."""
    return int(torch.Size(shape).numel())


def _flat_input(trainer: PublicTrainer, update: Update) -> str:
    """The map that a linear layer of the update takes flat."""
    maps = [(n, unknown_size(u.shape)) for n, u in trainer.unknowns().items() if len(u.shape) == 3]
    for name, size in maps:
        if any(t.ndim == 2 and t.shape[1] == size for t in update.gradient.values()) and _alone(update, size):
            return name
    raise NotApplicableError(
        "no layer of the client is linear on the whole record and has a bias; behind convolutions only what enters the "
        "linear layer could be read, which is no picture"
    )


def _alone(update: Update, size: int) -> bool:
    """Whether the update's first layer may be that linear one: no convolution is trained before it."""
    return not any(t.ndim == 4 for t in update.gradient.values())
