"""What the length of an update alone tells of its record's class."""

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
    """Gradient norms of rare classes are larger, since the model is less sure of them (Li et al.,
    arXiv:2102.08504).

    The attacker computes the norms that records of its own would have at the same weights, and
    gives each class the weight that a kernel density of their logarithms has at the norm that was
    sent, times the class's share.
    """

    name = "label-norms"
    requires = frozenset({CLIENT_UPDATE, GLOBAL_MODEL})
    default_budget = Budget(iterations=0, batch_size=64)
    budget_axis = BudgetAxis("auxiliary", (8, 16, 32, 64))
    card = Card(
        summary="Guesses a record's class from the length of its gradient alone; claims no picture.",
        source="the norm attack of Li et al., arXiv:2102.08504, with norms of auxiliary records; METHODS 4",
        needs="client_update of SGD clients that train a classifier on one record an update; auxiliary records",
        cost="one gradient an auxiliary record and update",
        notes="Its result is label_auc (0.5 is chance) and label_accuracy in the row, whose targets say not_claimed. "
        "Shows what is left where only lengths are seen; who sees the gradient itself uses label-counts.",
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        trainer = trainer_of(view)
        name = label_name(trainer)
        if name is None:
            raise NotApplicableError("the client's training has no class label")
        updates = updates_in(view, trainer)
        if max(update.records for update in updates) > 1:
            raise NotApplicableError(
                "several records went into one update; its length is no record's own"
            )
        if len(view.public.auxiliary) < 2:
            raise NotApplicableError("needs auxiliary records, whose gradients are measured")
        try:
            own = trainer.inputs(view.public.auxiliary)
        except RequestError as error:
            raise NotApplicableError(f"auxiliary records have no class: {error}") from error
        weights = []
        with progress.stage("measuring norms", len(updates)) as advance:
            for update in updates:
                norms = norms_of(trainer, update, own)
                sent = (
                    torch.stack([t.square().sum() for t in update.gradient.values()]).sum().sqrt()
                )
                weights.append(class_weights(sent, norms, own[name]).unsqueeze(0))
                advance(1)
        return Claim({}, labels=in_order(updates, weights))


def norms_of(trainer: PublicTrainer, update: Update, own: Mapping[str, Tensor]) -> Tensor:
    """The l2 norm that the update would have of each own record alone, ``(M,)``."""

    def norm(one: dict[str, Tensor]) -> Tensor:
        gradient = trainer.gradient(update.weights, {n: t.unsqueeze(0) for n, t in one.items()})
        return torch.stack([t.square().sum() for t in gradient.values()]).sum().sqrt()

    return vmap(norm, chunk_size=32)(dict(own)).detach()


def class_weights(sent: Tensor, norms: Tensor, labels: Tensor) -> Tensor:
    """Posterior ``(K,)`` of the class given the norm ``sent`` ``()``, from own norms ``(M,)`` and
    one-hot ``(M, K)``.

    Gaussian kernels on logarithms, of the width of Silverman's rule (1986) for all records
    together.
    """
    logs = norms.clamp_min(1e-12).log()
    width = (1.06 * logs.std() * len(logs) ** -0.2).clamp_min(1e-6)
    distance = (sent.clamp_min(1e-12).log() - logs) / width
    # Subtracting the least keeps one weight at 1 where the sent norm is far from all own ones.
    closeness = (-0.5 * (distance.square() - distance.square().min())).exp()
    weights: Tensor = closeness @ labels
    return weights / weights.sum()
