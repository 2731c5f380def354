"""Matched inference: the control network samples only at the noise levels that it was trained on."""

from __future__ import annotations

from pydantic import Field

from bench.interfaces import Card, Channel, Defense, NoiseSchedule, Params, RequestError


class InferenceMatchParams(Params):
    """Attributes:
    t_min: the smallest timestep at which the control network is applied; None is the smallest that
    the
        timestep policy beside it trains at, which is 0 without one.
    """

    t_min: int | None = Field(default=None, ge=0)


class InferenceMatch(Defense):
    """Below t_min the frozen UNet finishes the picture alone (METHODS 7.18)."""

    name = "inference-match"
    Params = InferenceMatchParams
    card = Card(
        summary="Applies the control network in sampling only at timesteps that a timestep policy let it train at.",
        source="this project; METHODS 7.18",
        needs="a timestep policy beside it, or a t_min of its own; by itself it changes nothing",
        cost="fewer control passes in sampling",
        notes="Changes nothing in training and hides nothing by itself: it is there to win back quality that a "
        "timestep policy loses. Adaptive attack: that on the policy.",
    )

    def check(self, schedule: NoiseSchedule, channels: frozenset[Channel]) -> None:
        if self.params.t_min is not None and self.params.t_min >= schedule.steps:
            raise RequestError(
                f"{self.name}: t_min is beyond the schedule's {schedule.steps} steps"
            )

    def control_from(self, schedule: NoiseSchedule, first: int) -> int:
        return first if self.params.t_min is None else int(self.params.t_min)
