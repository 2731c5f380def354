"""AttributeOdds read off an update without any optimisation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from attacks.gradients.engine.updates import Update
from bench.interfaces import NotApplicableError, PublicTrainer

PROBES = 16
"""Random inputs over which predicted probabilities are averaged."""


def label_name(trainer: PublicTrainer) -> str | None:
    """Return the name of the one input that is a soft label, or None."""
    names = [
        name
        for name, unknown in trainer.unknowns().items()
        if unknown.simplex and len(unknown.shape) == 1
    ]
    return names[0] if len(names) == 1 else None


def recover_labels(trainer: PublicTrainer, update: Update, rng: torch.Generator) -> Tensor:
    """Return one-hot labels ``(B, K)`` of the update's records, in no particular order.

    Cross-entropy gives the bias of a linear head the gradient mean(p) - mean(y), where p are the
    predicted probabilities. For one record this gradient is negative at the label alone, whatever p
    is (iDLG, arXiv:2001.02610). For several records B (p - gradient) counts the labels, with p
    taken from random inputs (after LLG, arXiv:2105.09369). The counts are rounded greedily, so this
    is an estimate.

    Raises:
        NotApplicableError: the update has no tensor that could be the bias of a head.
    """
    name = label_name(trainer)
    if name is None:
        raise NotApplicableError("the client's training has no class label")
    classes = trainer.unknowns()[name].shape[0]
    head = _head_bias(update.gradient, classes)
    steps = -(-update.records // trainer.local.batch_size)
    slope = update.gradient[head] / steps
    if update.records == 1:
        return torch.nn.functional.one_hot(slope.argmin(), classes).float().unsqueeze(0)
    counts = update.records * (_predicted(trainer, update, name, classes, head, rng) - slope)
    labels = []
    for _ in range(update.records):
        labels.append(int(counts.argmax()))
        counts[labels[-1]] -= 1
    return torch.nn.functional.one_hot(torch.tensor(sorted(labels)), classes).float()


def distinct_labels(trainer: PublicTrainer, update: Update) -> Tensor:
    """Return one-hot labels ``(B, K)`` that all differ, in no particular order.

    Only records of class k make row k of the head's weight gradient negative where features are
    positive. So the B rows with the lowest entries are named (Yin et al., arXiv:2104.07586, label
    restoration).

    Raises:
        NotApplicableError: there are more records than classes, or no linear head.
    """
    name = label_name(trainer)
    if name is None:
        raise NotApplicableError("the client's training has no class label")
    classes = trainer.unknowns()[name].shape[0]
    if update.records > classes:
        raise NotApplicableError(
            f"{update.records} records cannot have distinct labels of {classes} classes"
        )
    weight = _head_bias(update.gradient, classes).removesuffix("bias") + "weight"
    if weight not in update.gradient or update.gradient[weight].ndim != 2:
        raise NotApplicableError("the head's bias has no weight matrix beside it")
    lowest = update.gradient[weight].min(1).values.argsort()[: update.records]
    return torch.nn.functional.one_hot(lowest.sort().values, classes).float()


def _head_bias(gradient: Mapping[str, Tensor], classes: int) -> str:
    """Return the tensor with one number per class whose numbers sum to zero, as a softmax's do.

    A network that is certain of its records leaves the tensor exactly zero. Such an update names no
    label, but other updates of the view still can.
    """
    fitting = [n for n, t in gradient.items() if t.shape == (classes,)]
    if not fitting:
        raise NotApplicableError(
            f"no tensor of {classes} numbers, one a class, that could be the head's bias"
        )
    return min(
        [n for n in fitting if bool(gradient[n].any())] or fitting,
        key=lambda n: float(gradient[n].sum().abs() / gradient[n].abs().sum().clamp_min(1e-30)),
    )


def _predicted(
    trainer: PublicTrainer,
    update: Update,
    label: str,
    classes: int,
    head: str,
    rng: torch.Generator,
) -> Tensor:
    """Return mean predicted probabilities ``(K,)`` on random inputs.

    They are the head's bias gradient for known labels, plus those labels.
    """
    inputs = {}
    for name, unknown in trainer.unknowns().items():
        if unknown.low is None or unknown.high is None:
            inputs[name] = torch.randn((PROBES, *unknown.shape), generator=rng)
            continue
        drawn = unknown.low + (unknown.high - unknown.low) * torch.rand(
            (PROBES, *unknown.shape), generator=rng
        )
        inputs[name] = drawn.round().long() if unknown.integer else drawn
    inputs[label] = torch.full((PROBES, classes), 1 / classes)
    return trainer.gradient(update.weights, inputs)[head].detach() + 1 / classes
