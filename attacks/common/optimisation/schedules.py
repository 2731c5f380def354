"""How the step size falls over an optimisation."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "step", "cosine"]


def factor(schedule: Schedule, iteration: int, iterations: int) -> float:
    """The share of the first step size at ``iteration`` of ``iterations``, in (0, 1].

    ``step``: a tenth after 3/8, again after 5/8 and 7/8 (arXiv:2003.14053, appendix A). ``cosine``:
    half a wave to 0.
    """
    done = iteration / max(1, iterations)
    if schedule == "step":
        return float(0.1 ** sum(done >= eighths / 8 for eighths in (3, 5, 7)))
    if schedule == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    return 1.0
