"""Puts objective, priors, optimiser and schedule together and inverts a view's updates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attacks.common.attack_run import AttackRun
from attacks.common.optimisation.adam import Adam
from attacks.common.optimisation.optimiser import Optimiser
from attacks.common.optimisation.priors import Prior
from attacks.gradients.engine.adaptation import Adaptation
from attacks.gradients.engine.objectives import Objective
from attacks.gradients.engine.problem import GradientProblem, Start, Terms
from attacks.gradients.engine.updates import Update
from bench.interfaces import PublicTrainer


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
class GradientInversion:
    """A gradient inversion, free of any assumption about the network.

    Attributes:
        restarts: first guesses an update; the one of least objective wins, and the truth has no
            say.
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
        run: AttackRun,
        *,
        known: Sequence[Mapping[str, Tensor]] | None = None,
        begin: Sequence[Mapping[str, Tensor]] | None = None,
        adaptation: Adaptation | None = None,
    ) -> Solution:
        """Invert every update.

        Args:
            known: for each update, inputs that the attacker has, ``(B, *shape)``; the same names
                for all.
            begin: for each update, inputs that every restart begins with instead of ``start``.
            at_once: updates that are optimised together.

        Raises:
            NotApplicableError: nothing is unknown, or an unknown cannot be guessed.
        """
        iterations = run.budget.iterations
        terms = self.terms(adaptation or Adaptation())
        known = [{} for _ in updates] if known is None else known
        inputs: dict[str, list[Tensor]] = {
            name: [torch.empty(0)] * len(updates) for name in trainer.unknowns()
        }
        match, first = torch.zeros(len(updates)), torch.zeros(len(updates))
        kinds = [(u.records, *sorted(terms.adaptation.observed(u.gradient))) for u in updates]
        chunks = _chunks(kinds, run.budget.batch_size)
        with run.progress.stage("inverting updates", iterations * len(chunks)) as advance:
            for rows in chunks:
                problem = GradientProblem(
                    trainer,
                    [updates[i] for i in rows],
                    terms,
                    known={
                        name: torch.stack([known[i][name] for i in rows]) for name in known[rows[0]]
                    },
                    restarts=self.restarts,
                    rng=run.rng,
                    like=torch.empty(0, dtype=self.dtype, device=run.device),
                )
                first_guess = (
                    problem.start(self.start, run.rng)
                    if begin is None
                    else problem.at([begin[i] for i in rows])
                )
                optimum = self.optimiser.minimise(problem, first_guess, iterations, advance)
                best = optimum.match.nan_to_num(nan=torch.inf).argmin(1).cpu()
                place = torch.arange(len(rows))
                match[rows], first[rows] = (
                    optimum.match.cpu().float()[place, best],
                    optimum.first.cpu().float()[place, best],
                )
                for name, tensor in problem.inputs(optimum.point, best).items():
                    for i, one in zip(rows, tensor, strict=True):
                        inputs[name][i] = (
                            one.float().cpu() if one.is_floating_point() else one.cpu()
                        )
        return Solution(inputs, match, first)

    def terms(self, adaptation: Adaptation) -> Terms:
        """Return what a guess is judged by when the attacker adapts to the defence like this."""
        return Terms(self.objective, self.priors, adaptation, self.unroll)


def _chunks(kinds: Sequence[Hashable], size: int) -> list[list[int]]:
    """Positions of updates of one kind, at most ``at_once`` together.

    Args:
        kinds: how many records each is of, and the tensors that it has something to compare in.
    """
    by_kind: dict[Hashable, list[int]] = {}
    for position, kind in enumerate(kinds):
        by_kind.setdefault(kind, []).append(position)
    return [
        rows[i : i + size] for rows in by_kind.values() for i in range(0, len(rows), max(1, size))
    ]
