"""Inversion where whole numbers are private too: an engine for what has slopes and a search for the rest, in turn."""

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
    """Attributes:
    rows: the inputs of each update, by name, ``(B, *shape)``.
    first, last: mean objective at the start and of what was found.
    """

    rows: Rows
    first: float
    last: float


@dataclass(frozen=True, eq=False)
class Alternation:
    """Attributes:
    rounds: turns of the search and the engine, which shares its iterations among them. One where
    all whole numbers
        are known.
    points: candidates a whole number and turn.
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
            begin: inputs to begin with, or None for the engine's first guesses and the middle of
                whole numbers.

        Raises:
            NotApplicableError: as the engine.
        """
        unknowns = trainer.unknowns()
        searched = [
            n for n, u in unknowns.items() if u.integer and u.high is not None and n not in known[0]
        ]
        rounds = min(self.rounds, max(1, iterations)) if searched else 1
        # A phase that begins with something has a whole number already, so it only refines.
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
