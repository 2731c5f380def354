"""Fits a whole-number input, such as a timestep, to an update: over a grid that grows finer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from attacks.gradients.engine.adaptation import Adaptation
from attacks.gradients.engine.local_training import summed_gradient
from attacks.gradients.engine.objectives import Objective
from attacks.gradients.engine.updates import Update
from bench.interfaces import PublicTrainer, Unknown


def candidates(unknown: Unknown, here: Tensor, points: int, level: int) -> list[Tensor]:
    """Candidates ``()`` for one number: the whole range at level 0, then around ``here``, half as far at each level."""
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
    *,
    objective: Objective,
    adaptation: Adaptation,
    unroll: bool,
    points: int,
    level: int,
    device: str,
) -> Tensor:
    """The numbers ``(B,)`` of an input ``name`` of which the update is simulated best, all else as
    in ``inputs``.

    One record after the other, each with its best candidate in place for the next.
    """
    observed = {n: t.to(device) for n, t in adaptation.observed(update.gradient).items()}
    weights = {n: t.to(device) for n, t in update.weights.items()}
    inputs = {n: t.to(device) for n, t in inputs.items()}
    best = inputs[name].clone()
    for record in range(len(best)):
        values = []
        tried_values = candidates(trainer.unknowns()[name], best[record], points, level)
        for candidate in tried_values:
            tried = best.clone()
            tried[record] = candidate
            simulated = summed_gradient(trainer, weights, {**inputs, name: tried}, unroll=unroll)
            values.append(float(objective(adaptation.simulated(simulated, observed), observed)))
        best[record] = tried_values[int(torch.tensor(values).nan_to_num(nan=torch.inf).argmin())]
    return best.cpu()
