"""Puts shuffled squares of a map back in their places."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import fold, unfold

from attacks.common.least_squares import invert_convolution
from bench.interfaces import NotApplicableError

Numbers = NDArray[np.float64]
_SWEEPS = 50  # of swaps at most
_SMALL = 64  # squares up to which swaps are tried


def cut(maps: Tensor, side: int) -> Tensor:
    """The squares of maps ``(R, C, h, w)`` row by row, ``(R, M, C, side, side)``."""
    count, channels = maps.shape[:2]
    squares = unfold(maps.float(), side, stride=side).transpose(1, 2)
    return squares.reshape(count, -1, channels, side, side)


def put(maps: Tensor, places: Tensor, side: int) -> Tensor:
    """Return maps ``(R, C, h, w)`` with square ``places[r, p]`` of each moved to place p."""
    squares = unfold(maps.float(), side, stride=side)
    moved = squares.gather(2, places.unsqueeze(1).expand_as(squares))
    return fold(moved, (maps.shape[-2], maps.shape[-1]), side, stride=side).to(maps.dtype)


@dataclass(frozen=True, eq=False)
class Puzzle:
    """What it costs to put squares at places and beside each other; the likelier, the less.

    Attributes:
        at: square i at place p, ``(M, M)``; places run row by row.
        right: square j to the right of square i, ``(M, M)``; down: square j below square i.
        columns: places in a row.
    """

    at: Numbers
    right: Numbers
    down: Numbers
    columns: int

    def cost(self, place: NDArray[np.int64]) -> float:
        """Of square ``place[p]`` at every p."""
        grid = place.reshape(-1, self.columns)
        total = self.at[place, np.arange(len(place))].sum()
        total += self.right[grid[:, :-1], grid[:, 1:]].sum() + self.down[grid[:-1], grid[1:]].sum()
        return float(total)

    def solve(self, tries: int = 1) -> NDArray[np.int64]:
        """Return the cheapest of some placements, improved by swaps while the puzzle is small.

        Places are filled in reading order with the square that fits best, starting from each of the
        ``tries`` likeliest first squares; what the places alone say, by assignment, is one more
        start.
        """
        first = np.argsort(self.at[:, 0], kind="stable")[:tries]
        found = [self._filled(int(i)) for i in first]
        if tries > 1:
            found.append(linear_sum_assignment(self.at.T)[1])
            if len(self.at) <= _SMALL:
                found = [self._swapped(place) for place in found]
        return min(found, key=self.cost)

    def _filled(self, first: int) -> NDArray[np.int64]:
        place = np.full(len(self.at), first)
        free = np.ones(len(self.at), dtype=bool)
        free[first] = False
        for p in range(1, len(place)):
            fit = self.at[:, p].copy()
            if p % self.columns:
                fit += self.right[place[p - 1]]
            if p >= self.columns:
                fit += self.down[place[p - self.columns]]
            fit[~free] = np.inf
            place[p] = int(fit.argmin())
            free[place[p]] = False
        return place

    def _swapped(self, place: NDArray[np.int64]) -> NDArray[np.int64]:
        least = self.cost(place)
        for _ in range(_SWEEPS):
            before = least
            for p in range(len(place)):
                for q in range(p):
                    place[[p, q]] = place[[q, p]]
                    now = self.cost(place)
                    if now < least - 1e-9:
                        least = now
                    else:
                        place[[p, q]] = place[[q, p]]
            if least == before:
                break
        return place


def by_overlap(conv: nn.Module, features: Tensor, side: int) -> Tensor:
    """Return places of shuffled squares of an output of a public convolution, ``(R, M)``.

    A 3x3 answer looks one cell over the edge, so a square tells its input on itself and on a rim
    around it, and the rim is the neighbours' own edge, noise and all; beyond the map it is zero.
    Exact where nothing else is on the features.

    Raises:
        NotApplicableError: not such a convolution, or too few channels to tell the rim.
    """
    if (
        not isinstance(conv, nn.Conv2d)
        or conv.stride != (1, 1)
        or conv.dilation != (1, 1)
        or conv.groups != 1
    ):
        raise NotApplicableError(
            "the first layer is not a plain convolution, whose answers overlap"
        )
    rim = conv.kernel_size[0] // 2
    if rim == 0 or conv.padding != (rim, rim) or conv.kernel_size != (2 * rim + 1, 2 * rim + 1):
        raise NotApplicableError("answers of the first layer do not look over the edge of a square")
    if conv.out_channels * side**2 <= conv.in_channels * (side + 2 * rim) ** 2 or rim > side:
        raise NotApplicableError(
            f"squares of {side} cells have too few numbers to tell what is around them"
        )
    valid = copy.deepcopy(conv)
    valid.padding = (0, 0)
    squares = cut(features, side)
    count, number = squares.shape[:2]
    inputs = invert_convolution(valid, squares.flatten(0, 1)).view(
        count, number, conv.in_channels, *[side + 2 * rim] * 2
    )
    columns = features.shape[-1] // side
    return torch.stack(
        [torch.from_numpy(_overlaps(release, rim, columns).solve()) for release in inputs]
    )


def _overlaps(inputs: Tensor, rim: int, columns: int) -> Puzzle:
    """Of one release's squares with their rims, ``(M, 4, side + 2 rim, side + 2 rim)``."""
    inner = slice(rim, -rim)
    left, right = inputs[..., inner, :rim], inputs[..., inner, -rim:]
    above, below = inputs[..., :rim, inner], inputs[..., -rim:, inner]
    core = inputs[..., inner, inner]
    across = _distance(right, core[..., :rim]) + _distance(core[..., -rim:], left)
    along = _distance(below, core[..., :rim, :]) + _distance(core[..., -rim:, :], above)
    at = np.zeros((len(inputs), len(inputs)))
    grid = np.arange(len(inputs)).reshape(-1, columns)
    for outside, edge in (
        (left, grid[:, 0]),
        (right, grid[:, -1]),
        (above, grid[0]),
        (below, grid[-1]),
    ):
        at[:, edge] += 2 * outside.double().square().flatten(1).sum(1).numpy()[:, None]
    return Puzzle(at, across, along, columns)


def _distance(one: Tensor, other: Tensor) -> Numbers:
    """Squared distance of every one from every other, ``(M, M)``."""
    found: Numbers = (
        torch.cdist(one.double().flatten(1), other.double().flatten(1)).square().numpy()
    )
    return found


def by_target(shuffled: Tensor, expected: Tensor, side: int) -> Tensor:
    """Return places of shuffled squares by their likeness to maps in order, ``(R, M)``.

    Args:
        shuffled: h_sd, ``(R, C, h, w)``.
        expected: what the stem makes of a noise target that is in order, ``(R, C, h, w)``: h_sd
            without the share of z0.
    """
    found = []
    for moved, fixed in zip(cut(shuffled, side), cut(expected, side), strict=True):
        likeness = (fixed - fixed.mean(0)).flatten(1) @ (moved - moved.mean(0)).flatten(1).T
        found.append(torch.from_numpy(linear_sum_assignment(likeness.numpy(), maximize=True)[1]))
    return torch.stack(found)


@dataclass(frozen=True, eq=False)
class Habits:
    """Where pictures have what, and how they continue across a border.

    Learned from latents of the attacker.

    Attributes:
        mean, variance: of each number of a square by place, ``(M, 4 side side)``.
        step: variance of the difference between neighbouring cells, by channel, ``(4,)``.
    """

    mean: Tensor
    variance: Tensor
    step: Tensor

    @classmethod
    def from_latents(cls, latents: Tensor, side: int) -> Habits:
        """Fit to at least 2 latents, ``(N, 4, h, w)``."""
        squares = cut(latents, side).flatten(2).double()
        step = (latents[..., 1:] - latents[..., :-1]).double().square().mean((0, 2, 3))
        return cls(squares.mean(0), squares.var(0) + 1e-3, step.clamp_min(1e-6))

    def puzzle(self, latents: Tensor, side: int, columns: int) -> Puzzle:
        """Return the puzzle of the shuffled squares of one clean latent, ``(4, h, w)``."""
        squares = cut(latents.unsqueeze(0), side)[0].double()
        flat = squares.flatten(1)
        # Numbers of one square are correlated, so the likelihood of a place is tempered by the
        # number of cells.
        tempered = 1 / (side * side)
        off = (flat.unsqueeze(1) - self.mean).square() / self.variance + self.variance.log()
        at = 0.5 * tempered * off.sum(2)
        scaled = squares / (2 * self.step.view(-1, 1, 1)).sqrt()
        across, along = (
            _distance(scaled[..., -1], scaled[..., 0]),
            _distance(scaled[..., -1, :], scaled[..., 0, :]),
        )
        return Puzzle(at.numpy(), across, along, columns)


def by_borders(latents: Tensor, known: Tensor, side: int) -> Tensor:
    """Return the likeliest places of shuffled squares of clean latents, ``(R, M)``; a guess.

    Args:
        known: latents of the attacker's own pictures, in order, ``(N, 4, h, w)``, at least 2.
    """
    habits, columns = Habits.from_latents(known, side), latents.shape[-1] // side
    found = [habits.puzzle(one, side, columns).solve(tries=16) for one in latents]
    return torch.stack([torch.from_numpy(place) for place in found])
