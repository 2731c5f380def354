"""Class labels inferred from the length of an update alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import vmap

from attacks.gradients.engine.claims import in_order
from attacks.gradients.engine.labels import label_name
from attacks.gradients.engine.updates import Update, trainer_of, updates_in
from bench.interfaces import (
    CLIENT_UPDATE,
    GLOBAL_MODEL,
    Attack,
    Budget,
    BudgetAxis,
    Card,
    Claim,
    NotApplicableError,
    Progress,
    PublicTrainer,
    RequestError,
    View,
)


class LabelNorms(Attack):
    """Infers the class from the gradient's norm, which is larger for rare classes.

    The model is less certain of rare classes (Li et al., arXiv:2102.08504). The attacker computes
    the norms that its auxiliary records would have at the same weights. Each class gets the kernel
    density of its logarithmic norms at the norm that was sent, times the class's share.
    """

    name = "label-norms"
    requires = frozenset({CLIENT_UPDATE, GLOBAL_MODEL})
    default_budget = Budget(iterations=0, batch_size=64)
    budget_axis = BudgetAxis("auxiliary", (8, 16, 32, 64))
    card = Card(
        summary="Infers a record's class from the length of its gradient alone; claims no picture.",
        source="the norm attack of Li et al., arXiv:2102.08504, with norms of auxiliary records",
        needs=(
            "client_update of SGD clients that train a classifier on one record per update; "
            "auxiliary records"
        ),
        cost="one gradient per auxiliary record and update",
        notes=(
            "The result is label_auc (0.5 is chance) and label_accuracy in the row, whose targets "
            "are not_claimed. It shows what leaks where only lengths are visible; an attacker who "
            "sees the gradient itself uses label-counts."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        trainer = trainer_of(view)
        name = label_name(trainer)
        if name is None:
            raise NotApplicableError("the client's training has no class label")
        updates = updates_in(view, trainer)
        if max(update.records for update in updates) > 1:
            raise NotApplicableError(
                "an update holds several records; its length does not belong to one record"
            )
        if len(view.public.auxiliary) < 2:
            raise NotApplicableError("needs auxiliary records, whose gradients are measured")
        try:
            auxiliary = trainer.inputs(view.public.auxiliary)
        except RequestError as error:
            raise NotApplicableError(f"auxiliary records have no class: {error}") from error
        weights = []
        with progress.stage("measuring norms", len(updates)) as advance:
            for update in updates:
                norms = norms_of(trainer, update, auxiliary)
                sent = (
                    torch.stack([t.square().sum() for t in update.gradient.values()]).sum().sqrt()
                )
                weights.append(class_weights(sent, norms, auxiliary[name]).unsqueeze(0))
                advance(1)
        return Claim({}, labels=in_order(updates, weights))


def norms_of(trainer: PublicTrainer, update: Update, auxiliary: Mapping[str, Tensor]) -> Tensor:
    """Return the l2 norm that the update would have for each auxiliary record alone, ``(M,)``."""

    def norm(one: dict[str, Tensor]) -> Tensor:
        gradient = trainer.gradient(update.weights, {n: t.unsqueeze(0) for n, t in one.items()})
        return torch.stack([t.square().sum() for t in gradient.values()]).sum().sqrt()

    return vmap(norm, chunk_size=32)(dict(auxiliary)).detach()


def class_weights(sent: Tensor, norms: Tensor, labels: Tensor) -> Tensor:
    """Return the posterior ``(K,)`` of the class given the norm that was sent.

    Kernels on the logarithms are Gaussian; their width follows Silverman's rule (1986) over all
    records.

    Args:
        sent: norm of the update, ``()``.
        norms: norms of auxiliary records, ``(M,)``.
        labels: one-hot classes of those records, ``(M, K)``.
    """
    logs = norms.clamp_min(1e-12).log()
    width = (1.06 * logs.std() * len(logs) ** -0.2).clamp_min(1e-6)
    distance = (sent.clamp_min(1e-12).log() - logs) / width
    # Subtracting the minimum keeps one weight at 1 where the sent norm is far from all others.
    closeness = (-0.5 * (distance.square() - distance.square().min())).exp()
    weights: Tensor = closeness @ labels
    return weights / weights.sum()
