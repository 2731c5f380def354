"""How many records each part of a data set gets."""

from __future__ import annotations

from pydantic import Field

from bench.util.frozen_model import FrozenModel


class SplitSizes(FrozenModel):
    """How many records each disjoint part gets.

    Attributes:
        victim: the client's private records.
        auxiliary: records of the attacker's own.
        calibration: for thresholds.
        evaluation: held out for the trained model's utility, and distractors of the gallery.
    """

    victim: int = Field(default=160, ge=2)
    auxiliary: int = Field(default=384, ge=2)
    calibration: int = Field(default=64, ge=8)
    evaluation: int = Field(default=72, ge=2)

    def total(self) -> int:
        """Records needed for all parts."""
        return self.victim + self.auxiliary + self.calibration + self.evaluation
