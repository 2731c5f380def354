"""Fits an integer input, such as a timestep, to an update over a grid that grows finer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from attacks.gradients.engine.local_training import summed_gradient
from attacks.gradients.engine.problem import Terms
from attacks.gradients.engine.updates import Update
from bench.interfaces import PublicTrainer, Unknown


def candidates(unknown: Unknown, here: Tensor, points: int, level: int) -> list[Tensor]:
    """Return candidates ``()`` for one integer.

    Level 0 spans the whole range. Each further level spans half as far around ``here``.

    Args:
        unknown: the input, with its range.
        here: the present value, ``()``.
        points: candidates beside ``here``.
        level: how fine the grid is.
    """
    low, high = int(unknown.low or 0), int(unknown.high or 0)
    if level == 0:
        spread = torch.linspace(low, high, points + 2)[1:-1].round().long()
    else:
        reach = (high - low) / (points + 1) / 2 ** (level - 1)
        spread = (here + torch.linspace(-reach, reach, points).round().long()).clamp(low, high)
    return [*torch.cat([spread, here.reshape(1)]).unique()]  # type: ignore[no-untyped-call]


def fit_integers(
    trainer: PublicTrainer,
    update: Update,
    inputs: Mapping[str, Tensor],
    name: str,
    terms: Terms,
    *,
    points: int,
    level: int,
    device: str,
) -> Tensor:
    """Return the values ``(B,)`` of an integer input for which the update is simulated best.

    All other inputs stay as they are. Records are fitted one after the other; each keeps its best
    value while the next is fitted.

    Args:
        trainer: the client's public training.
        update: what the client sent.
        inputs: all inputs by name, ``(B, *shape)``.
        name: the integer input.
        terms: objective, adaptation and simulation.
        points: candidates per record.
        level: how fine the grid is (``candidates``).
        device: where to compute.
    """
    adaptation = terms.adaptation
    observed = {n: t.to(device) for n, t in adaptation.observed(update.gradient).items()}
    weights = {n: t.to(device) for n, t in update.weights.items()}
    inputs = {n: t.to(device) for n, t in inputs.items()}
    best = inputs[name].clone()
    for record in range(len(best)):
        values = []
        tried_values = candidates(trainer.unknowns()[name], best[record], points, level)
        for candidate in tried_values:
            guess = {**inputs, name: best.clone()}
            guess[name][record] = candidate
            simulated = summed_gradient(trainer, weights, guess, unroll=terms.unroll)
            simulated = adaptation.simulated(simulated, observed)
            values.append(float(terms.objective(simulated, observed)))
        best[record] = tried_values[int(torch.tensor(values).nan_to_num(nan=torch.inf).argmin())]
    return best.cpu()
