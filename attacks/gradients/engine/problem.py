"""Several updates, with several restarts of each, as one batch of optimisation problems."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.func import grad, vmap

from attacks.common.optimisation.optimiser import Value
from attacks.common.optimisation.priors import Prior
from attacks.gradients.engine.adaptation import Adaptation
from attacks.gradients.engine.local_training import summed_gradient
from attacks.gradients.engine.objectives import TINY, Objective
from attacks.gradients.engine.updates import Update
from bench.interfaces import NotApplicableError, PublicTrainer

Start = Literal["normal", "uniform"]


@dataclass(frozen=True, eq=False)
class Terms:
    """Terms by which a guess is judged.

    Attributes:
        objective: distance between gradients.
        priors: penalties on the inputs.
        adaptation: to the known defence.
        unroll: simulate local steps one after the other.
    """

    objective: Objective
    priors: Sequence[Prior]
    adaptation: Adaptation
    unroll: bool


class GradientProblem:
    """T updates of equally many records, R restarts each; a guess is a vector of D numbers.

    The vector holds the free inputs of one update. Inputs on a simplex are optimised as logits.
    Unknown integers are drawn once per restart and stay, so that the choice of the best restart
    searches over them.

    Args:
        trainer: the clients' public training.
        updates: what the clients sent.
        terms: how a guess is judged.
        known: by name, inputs that the attacker has, ``(T, B, *shape)``.
        restarts: guesses per update.
        rng: draws the unknown integers.
        like: an empty tensor of the dtype and on the device of the optimisation.

    Raises:
        NotApplicableError: an integer without bounds is unknown.
    """

    def __init__(
        self,
        trainer: PublicTrainer,
        updates: Sequence[Update],
        terms: Terms,
        *,
        known: Mapping[str, Tensor],
        restarts: int,
        rng: torch.Generator,
        like: Tensor,
    ) -> None:
        self._trainer, self._terms, self._restarts = trainer, terms, restarts
        self._like = like
        self._count, self._records = len(updates), updates[0].records
        unknowns = trainer.unknowns()
        self._free = {n: u for n, u in unknowns.items() if n not in known and not u.integer}
        self._shapes = {n: (self._records, *u.shape) for n, u in self._free.items()}
        self._sizes = [math.prod(shape) for shape in self._shapes.values()]
        if not self._free:
            raise NotApplicableError(
                "every input of the update is known; nothing is left to invert"
            )
        self._fixed = {
            n: (t.to(like) if t.is_floating_point() else t.to(like.device)).unsqueeze(1)
            for n, t in known.items()
        }
        self._fixed = {n: t.expand(-1, restarts, *t.shape[2:]) for n, t in self._fixed.items()}
        for name, unknown in unknowns.items():
            if unknown.integer and name not in known:
                if unknown.low is None or unknown.high is None:
                    raise NotApplicableError(
                        f"{name!r} is an integer without bounds, which cannot be guessed"
                    )
                shape = (self._count, restarts, self._records, *unknown.shape)
                self._fixed[name] = torch.randint(
                    int(unknown.low), int(unknown.high) + 1, shape, generator=rng
                ).to(like.device)
        adaptation = terms.adaptation
        observed = [adaptation.observed(u.gradient) for u in updates]
        self._observed = {n: torch.stack([o[n] for o in observed]).to(like) for n in observed[0]}
        self._shared = all(_same(updates[0].weights, u.weights) for u in updates[1:])
        kept = updates[:1] if self._shared else updates
        self._weights = {
            n: torch.stack([u.weights[n] for u in kept]).to(like) for n in updates[0].weights
        }
        if self._shared:
            self._weights = {n: tensor[0] for n, tensor in self._weights.items()}
        along = vmap(grad(self._loss, has_aux=True), in_dims=(0, None, None, 0))
        self._batched = vmap(along, in_dims=(0, None if self._shared else 0, 0, 0))

    def start(self, how: Start, rng: torch.Generator) -> Tensor:
        """Return first guesses ``(T, R, D)``: normal, or uniform where an input has a range."""
        pieces = []
        for unknown, size in zip(self._free.values(), self._sizes, strict=True):
            shape = (self._count, self._restarts, size)
            if (
                how == "uniform"
                and not unknown.simplex
                and unknown.low is not None
                and unknown.high is not None
            ):
                pieces.append(
                    unknown.low + (unknown.high - unknown.low) * torch.rand(shape, generator=rng)
                )
            else:
                pieces.append(torch.randn(shape, generator=rng))
        return torch.cat(pieces, 2).to(self._like)

    def at(self, inputs: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Return the guesses ``(T, R, D)`` for given inputs ``(B, *shape)`` of each update."""
        rows = []
        for one in inputs:
            pieces = [
                one[n].clamp_min(TINY).log() if u.simplex else one[n] for n, u in self._free.items()
            ]
            rows.append(torch.cat([piece.flatten() for piece in pieces]))
        return torch.stack(rows).unsqueeze(1).repeat(1, self._restarts, 1).to(self._like)

    def clamp(self, point: Tensor) -> Tensor:
        """Return guesses ``(..., D)`` moved into the range of each input (the box prior)."""
        pieces = []
        for piece, unknown in zip(
            torch.split(point, self._sizes, -1), self._free.values(), strict=True
        ):
            boxed = not unknown.simplex and (unknown.low is not None or unknown.high is not None)
            pieces.append(piece.clamp(unknown.low, unknown.high) if boxed else piece)
        return torch.cat(pieces, -1)

    def evaluate(self, point: Tensor, rows: Tensor | None = None) -> Value:
        """Return objective and slope at ``(T, R, D)``.

        Args:
            point: guesses ``(T, R, D)``, or ``(len(rows), R, D)``.
            rows: evaluate these updates alone.
        """
        weights, observed, fixed = self._weights, self._observed, self._fixed
        if rows is not None:
            observed = {n: t[rows] for n, t in observed.items()}
            fixed = {n: t[rows] for n, t in fixed.items()}
            if not self._shared:
                weights = {n: t[rows] for n, t in weights.items()}
        slope, (total, match) = self._batched(point, weights, observed, fixed)
        return Value(total.detach(), match.detach(), slope.detach())

    def inputs(self, point: Tensor, restart: Tensor) -> dict[str, Tensor]:
        """Return the inputs ``(T, B, *shape)`` of one restart of each update.

        Args:
            point: guesses, ``(T, R, D)``.
            restart: which restart of each update, ``(T,)``.
        """
        rows = torch.arange(self._count)
        fixed = {n: t[rows, restart] for n, t in self._fixed.items()}
        return {n: t.detach() for n, t in self._unpack(point[rows, restart], fixed).items()}

    def _loss(
        self,
        point: Tensor,
        weights: Mapping[str, Tensor],
        observed: Mapping[str, Tensor],
        fixed: Mapping[str, Tensor],
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the objective of one restart ``(D,)`` of one update, with and without priors."""
        terms = self._terms
        inputs = self._unpack(point, fixed)
        gradient = summed_gradient(self._trainer, weights, inputs, unroll=terms.unroll)
        match = terms.objective(terms.adaptation.simulated(gradient, observed), observed)
        total = match
        for prior in terms.priors:
            total = total + prior({name: inputs[name] for name in self._free})
        return total, (total, match)

    def _unpack(self, point: Tensor, fixed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return inputs by name from ``(..., D)``."""
        inputs = dict(fixed)
        for (name, unknown), piece in zip(
            self._free.items(), torch.split(point, self._sizes, -1), strict=True
        ):
            shaped = piece.reshape(*piece.shape[:-1], *self._shapes[name])
            inputs[name] = shaped.softmax(-1) if unknown.simplex else shaped
        return inputs


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())
