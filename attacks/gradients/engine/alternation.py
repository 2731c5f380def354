"""Inversion where integers are private too: gradient descent and a search take turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.common.attack_run import AttackRun
from attacks.gradients.engine.adaptation import Adaptation
from attacks.gradients.engine.integer_search import fit_integers
from attacks.gradients.engine.inversion import GradientInversion
from attacks.gradients.engine.updates import Update
from bench.interfaces import PublicTrainer

Rows = Sequence[Mapping[str, Tensor]]


@dataclass(frozen=True, eq=False)
class AlternationResult:
    """The inputs that were recovered, and how well they fit.

    Attributes:
        rows: the inputs of each update, by name, ``(B, *shape)``.
        first: mean objective at the start.
        last: mean objective of ``rows``.
    """

    rows: Rows
    first: float
    last: float


@dataclass(frozen=True, eq=False)
class Alternation:
    """Takes turns between the inversion of real inputs and the search over integer inputs.

    Attributes:
        inversion: optimises the inputs that have slopes.
        adaptation: to the known defence.
        rounds: turns, which share the iterations of the inversion. There is one turn where all
            integers are known.
        points: candidates per integer and turn.
        run: generator, budget, device and progress.
    """

    inversion: GradientInversion
    adaptation: Adaptation
    rounds: int
    points: int
    run: AttackRun

    def minimise(
        self,
        trainer: PublicTrainer,
        updates: Sequence[Update],
        known: Rows,
        begin: Rows | None,
        iterations: int,
    ) -> AlternationResult:
        """Invert every update.

        Args:
            trainer: the clients' public training.
            updates: what the clients sent.
            known: for each update, inputs that the attacker has.
            begin: inputs to begin with, or None for the inversion's first guesses and the middle of
                each integer's range.
            iterations: of the inversion, over all turns.

        Raises:
            NotApplicableError: nothing is unknown, or an unknown cannot be guessed.
        """
        unknowns = trainer.unknowns()
        searched = [
            n for n, u in unknowns.items() if u.integer and u.high is not None and n not in known[0]
        ]
        rounds = min(self.rounds, max(1, iterations)) if searched else 1
        # A phase that begins with inputs has a value of each integer already and only refines it.
        level = 0 if begin is None else self.rounds
        rows, first, last = begin, 0.0, 0.0
        for turn in range(rounds):
            fixed = []
            for i, update in enumerate(updates):
                one = dict(known[i])
                for name in searched:
                    one[name] = (
                        self._middle(trainer, name, update)
                        if rows is None
                        else self._fit(trainer, update, rows[i], name, level)
                    )
                fixed.append(one)
            level += rows is not None
            solution = self.inversion.invert(
                trainer,
                updates,
                self.run.with_iterations(iterations // rounds),
                known=fixed,
                begin=rows,
                adaptation=self.adaptation,
            )
            rows = [
                {n: tensors[i] for n, tensors in solution.inputs.items()}
                for i in range(len(updates))
            ]
            first = float(solution.first.mean()) if turn == 0 else first
            last = float(solution.match.mean())
        assert rows is not None
        return AlternationResult(rows, first, last)

    def _middle(self, trainer: PublicTrainer, name: str, update: Update) -> Tensor:
        unknown = trainer.unknowns()[name]
        value = round(((unknown.low or 0) + (unknown.high or 0)) / 2)
        return torch.full((update.records, *unknown.shape), value)

    def _fit(
        self,
        trainer: PublicTrainer,
        update: Update,
        inputs: Mapping[str, Tensor],
        name: str,
        level: int,
    ) -> Tensor:
        return fit_integers(
            trainer,
            update,
            inputs,
            name,
            self.inversion.terms(self.adaptation),
            points=self.points,
            level=level,
            device=self.run.device,
        )
