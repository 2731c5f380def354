"""Adam and signed Adam over a batch of problems."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.common.optimisation.optimiser import Advance, Minimum, Problem
from attacks.common.optimisation.schedules import Schedule, factor


@dataclass(frozen=True)
class Adam:
    """Kingma and Ba, arXiv:1412.6980; every number of every problem has its own moments.

    Attributes:
        rate: first step size, in the units of the inputs.
        signed: uses the slope's sign alone, as arXiv:2003.14053 does.
        boxed: inputs are kept within their range.
        amsgrad: step sizes never grow again (Reddi et al., arXiv:1904.09237).
    """

    rate: float = 0.1
    signed: bool = False
    schedule: Schedule = "constant"
    boxed: bool = True
    decay: tuple[float, float] = (0.9, 0.999)
    amsgrad: bool = False

    def minimise(
        self, problem: Problem, start: Tensor, iterations: int, advance: Advance
    ) -> Minimum:
        """From ``start`` ``(T, R, D)``; the point of least objective on the way is kept."""
        point = problem.clamp(start) if self.boxed else start
        best, lowest, match, first = point, None, None, None
        mean, spread, widest = (torch.zeros_like(point) for _ in range(3))
        for i in range(iterations + 1):
            value = problem.evaluate(point)
            total = value.total.nan_to_num(nan=torch.inf)
            if lowest is None or match is None:
                lowest, match, first = total, value.match, value.match
            better = total < lowest
            lowest, match = (
                torch.where(better, total, lowest),
                torch.where(better, value.match, match),
            )
            best = torch.where(better.unsqueeze(-1), point, best)
            if i == iterations:
                break
            slope = value.slope.sign() if self.signed else value.slope
            a, b = self.decay
            mean = a * mean + (1 - a) * slope
            spread = b * spread + (1 - b) * slope.square()
            widest = torch.maximum(widest, spread) if self.amsgrad else spread
            step = (mean / (1 - a ** (i + 1))) / ((widest / (1 - b ** (i + 1))).sqrt() + 1e-8)
            point = point - self.rate * factor(self.schedule, i, iterations) * step
            point = problem.clamp(point) if self.boxed else point
            advance(1)
        assert match is not None
        assert first is not None
        return Minimum(best, match, first)
