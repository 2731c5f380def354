"""L-BFGS over a batch of problems, each with a separate memory and line search."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.common.optimisation.optimiser import Advance, Minimum, Problem, Value

SUFFICIENT = 1e-4  # share of the promised decrease that a step must keep (Armijo)


@dataclass(frozen=True)
class LBFGS:
    """Two-loop recursion (Liu and Nocedal 1989) with steps halved until the objective falls enough.

    A pair of differences without positive curvature is left out. A problem whose line search fails
    clears its memory once, and stops when steepest descent fails too.

    Attributes:
        memory: pairs of differences that are kept.
        halvings: how often a step is halved at most.
    """

    memory: int = 20
    halvings: int = 12

    def minimise(
        self, problem: Problem, start: Tensor, iterations: int, advance: Advance
    ) -> Minimum:
        """Minimise from ``start`` ``(T, R, D)``; the objective never rises."""
        point, now = start, problem.evaluate(start)
        first = now.match
        # Steps, changes of slope, and 1 / <step, change> or 0.
        pairs: list[tuple[Tensor, Tensor, Tensor]] = []
        # Problems without a memory; their next step is steepest descent.
        fresh = torch.ones_like(now.total, dtype=torch.bool)
        active = now.total.isfinite()
        for _ in range(iterations):
            if not bool(active.any()):
                break
            direction = -_two_loop(now.slope, pairs)
            downhill = (direction * now.slope).sum(-1)
            fresh = fresh | (downhill >= 0)
            direction = torch.where(fresh.unsqueeze(-1), -now.slope, direction)
            downhill = (direction * now.slope).sum(-1)
            longest = (1 / now.slope.abs().sum(-1).clamp_min(1e-30)).clamp(max=1.0)
            length = torch.where(
                fresh, longest * now.slope.shape[-1] ** 0.5, torch.ones_like(longest)
            )
            moved, then, accepted = self._search(
                problem, point, now, direction, downhill, length, active
            )
            change = then.slope - now.slope
            step = moved - point
            curvature = (step * change).sum(-1)
            good = accepted & (curvature > 1e-12 * change.square().sum(-1).clamp_min(1e-30))
            weight = torch.where(good, 1 / curvature, torch.zeros_like(curvature))
            active = active & (accepted | ~fresh)
            forget = ~accepted
            pairs = [
                (s, y, torch.where(forget, torch.zeros_like(r), r))
                for s, y, r in pairs[-self.memory + 1 :]
            ]
            pairs.append((step, change, weight))
            fresh = forget | (fresh & ~good)
            point, now = moved, then
            advance(1)
        return Minimum(point, now.match, first)

    def _search(
        self,
        problem: Problem,
        point: Tensor,
        now: Value,
        direction: Tensor,
        downhill: Tensor,
        length: Tensor,
        active: Tensor,
    ) -> tuple[Tensor, Value, Tensor]:
        """Return the next point, its value, and which problems moved, ``(T, R)``."""
        moved, total, match, slope = (
            point.clone(),
            now.total.clone(),
            now.match.clone(),
            now.slope.clone(),
        )
        accepted = torch.zeros_like(active)
        for _ in range(self.halvings):
            waiting = active & ~accepted
            rows = waiting.any(1).nonzero().squeeze(1)
            if not len(rows):
                break
            trial = point[rows] + length[rows].unsqueeze(-1) * direction[rows]
            value = problem.evaluate(trial, rows)
            promised = SUFFICIENT * length[rows] * downhill[rows]
            take = waiting[rows] & (value.total <= now.total[rows] + promised)  # false for NaN
            moved[rows] = torch.where(take.unsqueeze(-1), trial, moved[rows])
            slope[rows] = torch.where(take.unsqueeze(-1), value.slope, slope[rows])
            total[rows] = torch.where(take, value.total, total[rows])
            match[rows] = torch.where(take, value.match, match[rows])
            accepted[rows] = accepted[rows] | take
            length = torch.where(accepted, length, length / 2)
        return moved, Value(total, match, slope), accepted


def _two_loop(slope: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Return the estimated inverse Hessian times ``slope`` ``(T, R, D)``.

    Pairs of weight 0 are ignored.
    """
    q, shares = slope, []
    for step, change, weight in reversed(pairs):
        share = weight * (step * q).sum(-1)
        q = q - share.unsqueeze(-1) * change
        shares.append(share)
    scale = torch.ones_like(slope[..., 0])
    for _, change, weight in pairs:  # the newest pair with curvature sets the scale
        size = change.square().sum(-1)
        scale = torch.where(weight > 0, 1 / (weight * size).clamp_min(1e-30), scale)
    q = q * scale.unsqueeze(-1)
    for (step, change, weight), share in zip(pairs, reversed(shares), strict=True):
        back = weight * (change * q).sum(-1)
        q = q + (share - back).unsqueeze(-1) * step
    return q
