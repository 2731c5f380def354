"""Client updates, as an attack inverts them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from bench.interfaces import CLIENT_UPDATE, GLOBAL_MODEL, NotApplicableError, PublicTrainer, View


@dataclass(frozen=True, eq=False)
class Update:
    """One client's message.

    Attributes:
        positions: of the update's records among the view's targets; their order is unknown.
        records: how many records the update was computed on.
        weights: the global model that the client started from.
        gradient: the sum of the gradients of its local steps as sent: minus the update over the
            learning rate.
    """

    positions: tuple[int, ...]
    records: int
    weights: Mapping[str, Tensor]
    gradient: Mapping[str, Tensor]


def trainer_of(view: View) -> PublicTrainer:
    """Return the public training code.

    Raises:
        NotApplicableError: the code is not known, or its updates do not hold gradients.
    """
    trainer = view.public.trainer
    if trainer is None:
        raise NotApplicableError(
            "needs the client's public local training, which this victim or threat model denies"
        )
    if trainer.local.optimizer != "sgd":
        raise NotApplicableError(
            f"local steps of {trainer.local.optimizer} divide each gradient by its size, so that "
            "the update holds little but signs; only SGD updates are inverted"
        )
    return trainer


def updates_in(view: View, trainer: PublicTrainer) -> list[Update]:
    """Return the updates behind the view's targets, in order.

    Raises:
        NotApplicableError: a target has no update, or the weights that it started from are missing.
    """
    weights = {p.step: p.tensors for p in view.parts(GLOBAL_MODEL)}
    sent = {p.step: p.tensors for p in view.parts(CLIENT_UPDATE)}
    sizes = view.batch_sizes()
    positions: dict[int, list[int]] = {}
    for position, release in enumerate(view.releases[i] for i in view.targets):
        positions.setdefault(release.step, []).append(position)
    updates = []
    for step, rows in positions.items():
        if step not in weights or step not in sent:
            raise NotApplicableError(
                f"the update of step {step}, or the weights that it started from, are missing"
            )
        gradient = {
            name: tensor.float() / -trainer.local.learning_rate
            for name, tensor in sent[step].items()
        }
        start = {name: tensor.float() for name, tensor in weights[step].items()}
        updates.append(Update(tuple(rows), sizes[rows[0]], start, gradient))
    return updates
