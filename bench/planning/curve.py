"""The suite that sweeps the budget of one attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.interfaces.attack import Attack
from bench.interfaces.budget_axis import BudgetAxis
from bench.interfaces.registry import Registry
from bench.planning.suite import Block, Suite, SuiteFile, block_of
from bench.spec.names import parse_plugin
from bench.util.errors import RequestError


def budget_axis_of(attack: str) -> BudgetAxis:
    """What the curve of the attack ``name[:key=value,...]`` runs over.

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
    """A block for every attack and every value of its budget axis, with all combinations of the other
    axes.

    Raises:
        RequestError: as ``budget_axis_of``; or a setting or an attack's parameter is the knob itself, or
            is impossible.
    """
    blocks: dict[str, Block] = {}
    for attack in axes["attacks"]:
        axis = budget_axis_of(attack)
        fixed = (
            parse_plugin(attack)[1]
            if not axis.in_budget
            else {"iterations": settings.get("iterations")}
        )
        if fixed.get(axis.knob) is not None:
            raise RequestError(f"{attack}: {axis.knob} is what the curve runs over; leave it out")
        for value in axis.values:
            if axis.in_budget:
                spelled, own = attack, {**settings, axis.knob: value}
            else:
                spelled, own = (
                    f"{attack}{',' if ':' in attack else ':'}{axis.knob}={value}",
                    dict(settings),
                )
            blocks[f"{attack} {axis.knob}={value}"] = block_of({**axes, "attacks": (spelled,)}, own)
    return Suite("curve", SuiteFile(blocks=blocks))
