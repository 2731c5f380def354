"""Apply the control network in sampling only at the noise levels that it was trained on."""

from __future__ import annotations

from pydantic import Field

from bench.interfaces import Card, Channel, Defense, NoiseSchedule, Params, RequestError


class InferenceMatchParams(Params):
    """Sets the timesteps at which sampling applies the control network.

    Attributes:
        t_min: the smallest timestep at which the control network is applied. None is the smallest
            timestep of the stacked timestep policy; without one that is 0.
    """

    t_min: int | None = Field(default=None, ge=0)


class InferenceMatch(Defense):
    """Lets the frozen UNet finish the picture alone below t_min."""

    name = "inference-match"
    Params = InferenceMatchParams
    params: InferenceMatchParams
    card = Card(
        summary="Applies the control network in sampling only at timesteps at which a timestep "
        "policy trained it.",
        source="this project",
        needs="a stacked timestep policy, or an explicit t_min; has no effect without either",
        cost="fewer control passes in sampling",
        notes="Changes nothing in training and hides nothing by itself: it recovers quality that a "
        "timestep policy loses. Adaptive attack: the attack on the timestep policy.",
    )

    def check(self, schedule: NoiseSchedule, channels: frozenset[Channel]) -> None:
        if self.params.t_min is not None and self.params.t_min >= schedule.steps:
            raise RequestError(
                f"{self.name}: t_min is beyond the schedule's {schedule.steps} steps"
            )

    def control_from(self, schedule: NoiseSchedule, first: int) -> int:
        return first if self.params.t_min is None else int(self.params.t_min)
