"""Statements of a defence about itself, beside functions of tensors, which attacks read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LossFeedback:
    """What a client that keeps the loss does to the gradient it returns.

    Without a defence that gradient is d = eps_hat - eps, scaled.

    Attributes:
        kind: ``linear`` returns d, plus Gaussian noise where ``added_noise(NOISE_TARGET, ...)``
            states some; ``signs`` returns the signs of d times the mean absolute value of d;
            ``projection`` returns the unbiased projection of d on random directions; ``clipped``
            shortens d to a norm and adds Gaussian noise.
        directions: number of directions of a ``projection``.
        clip: largest l2 norm of a ``clipped`` d, over the square root of the size of d.
        noise: standard deviation of the noise of ``clipped``, over the norm.
    """

    kind: Literal["linear", "signs", "projection", "clipped"]
    directions: int = 0
    clip: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True)
class UpdateProtection:
    """What a defence leaves of an update (``client_update``).

    Attributes:
        masked: some numbers were set to zero, so a zero does not depend on the record.
        signs: of each number the sign alone is left.
        clip: largest l2 norm of a whole update, or None.
        record_clip: largest l2 norm of one record's gradient of a step, or None.
    """

    masked: bool = False
    signs: bool = False
    clip: float | None = None
    record_clip: float | None = None
