"""From a view to a claim by inversion: the steps that every gradient-inversion attack takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from attacks.common.attack_run import AttackRun
from attacks.gradients.engine.adaptation import Adaptation
from attacks.gradients.engine.inversion import GradientInversion
from attacks.gradients.engine.labels import label_name, recover_labels
from attacks.gradients.engine.updates import Update, trainer_of, updates_in
from bench.interfaces import Claim, PublicTrainer, View


def claim_by_inversion(
    view: View,
    inversion: GradientInversion,
    run: AttackRun,
    *,
    read_labels: bool,
) -> Claim:
    """Invert the updates behind the view's targets.

    Args:
        view: what the attacker sees.
        inversion: objective, optimiser and priors.
        run: generator, budget, device and progress.
        read_labels: read labels, where there are any, off the update first instead of optimising
            them.

    Raises:
        NotApplicableError: updates, weights or public training are missing, or cannot be inverted.
    """
    trainer = trainer_of(view)
    updates = updates_in(view, trainer)
    name = label_name(trainer)
    known = on_the_wire(view, trainer, updates)
    if read_labels and name is not None:
        known = [
            {**one, name: recover_labels(trainer, u, run.rng)}
            for one, u in zip(known, updates, strict=True)
        ]
    solution = inversion.invert(
        trainer,
        updates,
        run,
        known=known,
        adaptation=Adaptation.from_defense(
            view.public.defense, trainer.local.learning_rate, trainer.behind_noise
        ),
    )
    diagnostics = {
        "attack_loss_first": float(solution.first.mean()),
        "attack_loss_last": float(solution.match.mean()),
    }
    return claim_of(trainer, updates, solution.inputs, diagnostics)


def claim_of(
    trainer: PublicTrainer,
    updates: Sequence[Update],
    inputs: Mapping[str, Sequence[Tensor]],
    diagnostics: Mapping[str, float],
) -> Claim:
    """Return the claim of inputs ``(B, *shape)`` that were recovered update by update."""
    ordered = {name: in_order(updates, tensors) for name, tensors in inputs.items()}
    return Claim(
        trainer.estimates(ordered), diagnostics, labels=ordered.get(label_name(trainer) or "")
    )


def on_the_wire(
    view: View, trainer: PublicTrainer, updates: Sequence[Update]
) -> list[dict[str, Tensor]]:
    """Return, for each update, the inputs ``(B, *shape)`` that are in view, such as t and eps."""
    sent = {
        n: u.channel
        for n, u in trainer.unknowns().items()
        if u.channel is not None and view.has(u.channel)
    }
    whole = all(len(update.positions) == update.records for update in updates)
    rows = {name: view.read(channel) for name, channel in sent.items()} if whole else {}
    return [
        {name: tensor[list(update.positions)] for name, tensor in rows.items()}
        for update in updates
    ]


def in_order(updates: Sequence[Update], rows: Sequence[Tensor]) -> Tensor:
    """Return the rows ``(B, ...)`` of all updates in the order of the targets, ``(N, ...)``."""
    order = torch.tensor(
        [position for update in updates for position in update.positions]
    ).argsort()
    return torch.cat([t[: len(u.positions)] for u, t in zip(updates, rows, strict=True)])[order]
