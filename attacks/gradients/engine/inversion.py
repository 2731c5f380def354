"""Inversion of updates by an objective, priors and an optimiser."""

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
    """The recovered inputs of several updates, and how well they fit.

    Attributes:
        inputs: by name, one entry per update, ``(B, *shape)`` each.
        match: objective, without priors, of the best restart of each update, ``(U,)``.
        first: objective of that restart at its start, ``(U,)``.
    """

    inputs: Mapping[str, Sequence[Tensor]]
    match: Tensor
    first: Tensor


@dataclass(frozen=True)
class GradientInversion:
    """A gradient inversion that makes no assumption about the network.

    Attributes:
        objective: distance between a simulated and an observed gradient.
        optimiser: minimises the objective and the priors.
        priors: penalties on the inputs.
        restarts: first guesses per update; the one with the lowest objective is returned.
        start: how first guesses are drawn.
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
            trainer: the clients' public training.
            updates: what the clients sent.
            run: generator, budget, device and progress; a batch of the budget holds that many
                updates.
            known: for each update, inputs that the attacker has, ``(B, *shape)``; the names are
                equal for all updates.
            begin: for each update, inputs that every restart begins with instead of ``start``.
            adaptation: to the known defence; None adapts to none.

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
    """Return positions of updates in chunks of one kind, at most ``size`` in each.

    Args:
        kinds: of each update, the number of its records and the names of the tensors to compare.
        size: largest chunk.
    """
    by_kind: dict[Hashable, list[int]] = {}
    for position, kind in enumerate(kinds):
        by_kind.setdefault(kind, []).append(position)
    return [
        rows[i : i + size] for rows in by_kind.values() for i in range(0, len(rows), max(1, size))
    ]
