"""Make the suite that sweeps the budget of attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.interfaces.attack import Attack
from bench.interfaces.budget_axis import BudgetAxis
from bench.interfaces.registry import Registry
from bench.planning.suite import Block, Suite, SuiteFile, block_of
from bench.settings.names import parse_plugin
from bench.util.errors import RequestError


def budget_axis_of(attack: str) -> BudgetAxis:
    """Return the axis of the curve of the attack ``name[:key=value,...]``.

    Raises:
        RequestError: there is no such attack, or none of its numbers buys success.
    """
    cls = Registry("attacks", Attack).load(parse_plugin(attack)[0])  # type: ignore[type-abstract]
    if cls.budget_axis is None:
        raise RequestError(
            f"attack {cls.name!r} has no budget to draw a curve over: it is done in one piece"
        )
    return cls.budget_axis


def curve_suite(axes: Mapping[str, Sequence[Any]], settings: Mapping[str, Any]) -> Suite:
    """Return a suite with a block for every attack and every value on the axis of its curve.

    Each block has all combinations of the other axes.

    Args:
        axes: values of the axes of ``Block``, by field.
        settings: settings of every block, by name.

    Raises:
        RequestError: an attack has no budget to vary, its budget is also set by a setting or a
            parameter, or a setting is impossible.
    """
    blocks: dict[str, Block] = {}
    for attack in axes["attacks"]:
        budget_axis = budget_axis_of(attack)
        fixed = settings if budget_axis.in_budget else parse_plugin(attack)[1]
        if fixed.get(budget_axis.knob) is not None:
            raise RequestError(
                f"{attack}: {budget_axis.knob} is what the curve runs over; leave it out"
            )
        for value in budget_axis.values:
            name = f"{attack} {budget_axis.knob}={value}"
            if budget_axis.in_budget:
                blocks[name] = block_of(
                    {**axes, "attacks": (attack,)}, {**settings, budget_axis.knob: value}
                )
            else:
                separator = "," if ":" in attack else ":"
                with_value = f"{attack}{separator}{budget_axis.knob}={value}"
                blocks[name] = block_of({**axes, "attacks": (with_value,)}, settings)
    return Suite("curve", SuiteFile(blocks=blocks))
