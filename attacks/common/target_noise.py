"""How much noise a client has put on the targets that it sends."""

from __future__ import annotations

import math

from torch import Tensor

from bench.interfaces import NOISE_TARGET, Defense, NoiseSchedule

_DOUBT = 6.0  # standard errors by which the mean square of exact noise must be passed


def target_variance(target: Tensor, defense: Defense | None, schedule: NoiseSchedule) -> float:
    """Return the variance of what was added to each number of the target.

    Of a known defence, as it states. Of an unknown one, from the mean square of the target,
    which for eps is 1; of other predictions it is not known, and none is assumed.

    Args:
        target: of many releases, ``(R, 4, h, w)``.
    """
    if defense is not None:
        size = target[0].numel()
        return float(sum(part.added_noise(NOISE_TARGET, size) ** 2 for part in defense.flat()))
    if schedule.prediction != "epsilon":
        return 0.0
    excess = float(target.double().square().mean()) - 1
    return excess if excess > _DOUBT * math.sqrt(2 / target.numel()) else 0.0
