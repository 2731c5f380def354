"""What federated clients sent, as the updates that an attack inverts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from bench.interfaces import CLIENT_UPDATE, GLOBAL_MODEL, NotApplicableError, PublicTrainer, View


@dataclass(frozen=True, eq=False)
class Update:
    """One client's message.

    Attributes:
        positions: of its records among the view's targets; the order within is unknown.
        records: how many it was computed on.
        weights: the global model it started from.
        gradient: the sum of its local steps' gradients, as sent: minus the update over the learning
            rate.
    """

    positions: tuple[int, ...]
    records: int
    weights: Mapping[str, Tensor]
    gradient: Mapping[str, Tensor]


def trainer_of(view: View) -> PublicTrainer:
    """The public training code.

    Raises:
        NotApplicableError: it is not known, or its updates do not hold gradients.
    """
    trainer = view.public.trainer
    if trainer is None:
        raise NotApplicableError(
            "needs the client's public local training, which this victim or threat model denies"
        )
    if trainer.local.optimizer != "sgd":
        raise NotApplicableError(
            f"local steps of {trainer.local.optimizer} divide each gradient by its own size, so that the update "
            "holds little but signs; only SGD updates are inverted"
        )
    return trainer


def updates_in(view: View, trainer: PublicTrainer) -> list[Update]:
    """The updates behind the view's targets, in order.

    Raises:
        NotApplicableError: a target has no update, or no weights that it started from.
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
                f"step {step} has no update with the weights that it started from"
            )
        gradient = {
            name: tensor.float() / -trainer.local.learning_rate
            for name, tensor in sent[step].items()
        }
        start = {name: tensor.float() for name, tensor in weights[step].items()}
        updates.append(Update(tuple(rows), sizes[rows[0]], start, gradient))
    return updates
