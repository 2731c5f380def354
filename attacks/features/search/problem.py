"""The inputs behind rows of features, with restarts, as one batch of optimisation problems."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.func import vmap

from attacks.common.optimisation.optimiser import Value
from attacks.common.optimisation.priors import Prior
from attacks.features.search.coordinates import SearchInputs
from attacks.features.search.match import Match
from bench.interfaces import Channel, PublicForward


class FeatureProblem:
    """T rows, R restarts each; a guess is a vector of D numbers that holds the free inputs.

    The optimisers of ``attacks.common.optimisation`` minimise it.

    Args:
        forward: the client as a function of its inputs.
        match: the features to explain.
        inputs: known inputs, coordinates, and first guesses of the first restart.
        priors: penalties on the inputs.
        restarts: guesses per row.
        rng: draws first guesses and the defence's noise.
        device: where to compute.
    """

    def __init__(
        self,
        forward: PublicForward,
        match: Match,
        inputs: SearchInputs,
        *,
        priors: Sequence[Prior],
        restarts: int,
        rng: torch.Generator,
        device: str,
    ) -> None:
        self._forward, self._priors, self._restarts = forward, tuple(priors), restarts
        self._spaces, self._rng, self._device = dict(inputs.spaces), rng, device
        self._count = len(next(iter(match.observed.values())))
        self._sizes = [math.prod(space.shape) for space in self._spaces.values()]
        self._known = {n: self._repeated(t.to(device)) for n, t in inputs.known.items()}
        observed, nuisance, counted = (
            {c: self._repeated(t.to(device)) for c, t in by_channel.items()}
            for by_channel in (match.observed, match.nuisance, match.counted)
        )
        self.match = Match(observed, match.distance, nuisance=nuisance, counted=counted)
        self.first = self._start(inputs.warm)
        if match.distance == "l2":
            self.match = self.match.scaled_by(self._sent(self.first))

    def _repeated(self, tensor: Tensor) -> Tensor:
        """Return a row for each restart of each target, ``(T * R, ...)``."""
        return tensor.repeat_interleave(self._restarts, 0)

    def _start(self, warm: Mapping[str, Tensor]) -> Tensor:
        """Return first guesses ``(T, R, D)``.

        The first restart starts from ``warm`` or the middle of the range, the others from draws.
        """
        pieces = []
        for name, space in self._spaces.items():
            piece = space.start(self._count * self._restarts, self._rng, random=True).to(
                self._device
            )
            piece = piece.reshape(self._count, self._restarts, *space.shape)
            middle = space.start(self._count, self._rng, random=False)
            piece[:, 0] = warm.get(name, middle).to(self._device)
            pieces.append(piece.flatten(2))
        return torch.cat(pieces, 2)

    def clamp(self, point: Tensor) -> Tensor:
        """Return guesses ``(..., D)`` moved into the range of each input."""
        pieces = torch.split(point, self._sizes, -1)
        return torch.cat(
            [s.clamp(p) for p, s in zip(pieces, self._spaces.values(), strict=True)], -1
        )

    def evaluate(self, point: Tensor, rows: Tensor | None = None) -> Value:
        """Return distance and slope at ``(T, R, D)``.

        Args:
            point: guesses ``(T, R, D)``, or ``(len(rows), R, D)``.
            rows: evaluate these targets alone.
        """
        flat = point.detach().clone().requires_grad_()
        index = None
        if rows is not None:
            index = (
                (rows.unsqueeze(1) * self._restarts + torch.arange(self._restarts))
                .flatten()
                .to(self._device)
            )
        inputs = self._inputs(flat)
        match = self._distance(inputs, index)
        total = match
        for prior in self._priors:
            total = total + vmap(
                lambda one, prior=prior: prior({n: t.unsqueeze(0) for n, t in one.items()})
            )(inputs)
        (slope,) = torch.autograd.grad(total.sum(), flat)
        shape = point.shape[:2]
        return Value(total.detach().view(shape), match.detach().view(shape), slope)

    def distance(self, point: Tensor) -> Tensor:
        """Return the distance ``(T, R)`` at ``(T, R, D)``, differentiable in the weights."""
        return self._distance(self._inputs(point.detach()), None).view(point.shape[:2])

    @torch.no_grad()
    def inputs(self, point: Tensor, restart: Tensor) -> dict[str, Tensor]:
        """Return the free inputs ``(T, *shape)`` of one restart of each target.

        Args:
            point: guesses, ``(T, R, D)``.
            restart: which restart of each target, ``(T,)``.
        """
        return self._inputs(point[torch.arange(len(point)), restart].unsqueeze(1))

    def _distance(self, inputs: Mapping[str, Tensor], index: Tensor | None) -> Tensor:
        known = self._known if index is None else {n: t[index] for n, t in self._known.items()}
        return self.match(self._forward.send({**known, **inputs}, self._rng), index)

    @torch.no_grad()
    def _sent(self, point: Tensor) -> Mapping[Channel, Tensor]:
        return self._forward.send({**self._known, **self._inputs(point)}, self._rng)

    def _inputs(self, point: Tensor) -> dict[str, Tensor]:
        """Return inputs by name, ``(T * R, *shape)``, from ``(T, R, D)``."""
        pieces = torch.split(point.flatten(0, 1), self._sizes, -1)
        return {
            name: space.input(piece.reshape(-1, *space.shape))
            for (name, space), piece in zip(self._spaces.items(), pieces, strict=True)
        }
