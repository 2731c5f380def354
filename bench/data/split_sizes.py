"""How many records each part of a data set gets."""

from __future__ import annotations

from pydantic import Field

from bench.util.frozen_model import FrozenModel


class SplitSizes(FrozenModel):
    """How many records each disjoint part gets."""

    victim: int = Field(
        default=160, ge=2, description="The clients hold this many private records."
    )
    auxiliary: int = Field(
        default=384, ge=2, description="The attacker has this many records to learn from."
    )
    calibration: int = Field(
        default=64, ge=8, description="Thresholds of metrics are set on this many records."
    )
    evaluation: int = Field(
        default=72,
        ge=2,
        description="The utility of the trained model is measured on this many held-out records; "
        "metrics that identify people also choose among their pictures.",
    )

    def total(self) -> int:
        """Return how many records all parts need together."""
        return self.victim + self.auxiliary + self.calibration + self.evaluation
