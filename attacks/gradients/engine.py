"""Puts objective, priors, optimiser and schedule together and inverts a view's updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from attacks.gradients.adaptation import Adaptation
from attacks.gradients.first_order import Adam, Advance, Found
from attacks.gradients.objectives import Objective
from attacks.gradients.priors import Prior
from attacks.gradients.problem import Problem, Start, Terms
from attacks.gradients.updates import Update
from bench.progress import Progress
from bench.public_trainer import PublicTrainer


class Optimiser(Protocol):
    """Minimises a batch of problems from given points."""

    def minimise(self, problem: Problem, start: Tensor, iterations: int, advance: Advance) -> Found: ...


@dataclass(frozen=True, eq=False)
class Solution:
    """What became of a number of updates.

    Attributes:
        inputs: by name, one entry an update, ``(B, *shape)`` each.
        match: objective, without priors, of the best restart of each update, ``(U,)``.
        first: the same restart's objective at its start.
    """

    inputs: Mapping[str, Sequence[Tensor]]
    match: Tensor
    first: Tensor


@dataclass(frozen=True)
class Engine:
    """A gradient inversion, free of any assumption about the network.

    Attributes:
        restarts: first guesses an update; the one of least objective wins, and the truth has no say.
        unroll: simulate local steps one after the other instead of all at the first weights.
        dtype: of the optimisation; the network must run in it.
    """

    objective: Objective
    optimiser: Optimiser = field(default_factory=Adam)
    priors: tuple[Prior, ...] = ()
    restarts: int = 1
    start: Start = "uniform"
    unroll: bool = True
    dtype: torch.dtype = torch.float32

    def invert(
        self,
        trainer: PublicTrainer,
        updates: Sequence[Update],
        *,
        known: Sequence[Mapping[str, Tensor]] | None = None,
        adaptation: Adaptation | None = None,
        iterations: int,
        at_once: int,
        rng: torch.Generator,
        device: str,
        progress: Progress,
    ) -> Solution:
        """Invert every update.

        Args:
            known: for each update, inputs that the attacker has, ``(B, *shape)``; the same names for all.
            at_once: updates that are optimised together.

        Raises:
            NotApplicableError: nothing is unknown, or an unknown cannot be guessed.
        """
        terms = Terms(self.objective, self.priors, adaptation or Adaptation(), self.unroll)
        known = [{} for _ in updates] if known is None else known
        inputs: dict[str, list[Tensor]] = {name: [torch.empty(0)] * len(updates) for name in trainer.unknowns()}
        match, first = torch.zeros(len(updates)), torch.zeros(len(updates))
        chunks = _chunks([update.records for update in updates], at_once)
        with progress.stage("inverting updates", iterations * len(chunks)) as advance:
            for rows in chunks:
                problem = Problem(
                    trainer,
                    [updates[i] for i in rows],
                    terms,
                    known={name: torch.stack([known[i][name] for i in rows]) for name in known[rows[0]]},
                    restarts=self.restarts,
                    rng=rng,
                    dtype=self.dtype,
                    device=device,
                )
                found = self.optimiser.minimise(problem, problem.start(self.start, rng), iterations, advance)
                best = found.match.nan_to_num(nan=torch.inf).argmin(1).cpu()
                place = torch.arange(len(rows))
                match[rows], first[rows] = (
                    found.match.cpu().float()[place, best],
                    found.first.cpu().float()[place, best],
                )
                for name, tensor in problem.inputs(found.point, best).items():
                    for i, one in zip(rows, tensor, strict=True):
                        inputs[name][i] = one.float().cpu() if one.is_floating_point() else one.cpu()
        return Solution(inputs, match, first)


def _chunks(records: Sequence[int], at_once: int) -> list[list[int]]:
    """Positions of updates of equally many records, at most ``at_once`` together."""
    by_count: dict[int, list[int]] = {}
    for position, count in enumerate(records):
        by_count.setdefault(count, []).append(position)
    return [rows[i : i + at_once] for rows in by_count.values() for i in range(0, len(rows), max(1, at_once))]
