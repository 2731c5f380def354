"""The suite that sweeps the budget of one attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.interfaces.attack import Attack
from bench.interfaces.budget_axis import Effort
from bench.interfaces.registry import Registry
from bench.planning.suite import Block, Suite, SuiteFile, block_of
from bench.spec.names import parse_plugin
from bench.util.errors import RequestError


def effort_of(attack: str) -> Effort:
    """What the curve of the attack ``name[:key=value,...]`` runs over.

    Raises:
        RequestError: there is no such attack, or none of its numbers buys success.
    """
    cls = Registry("attacks", Attack).load(parse_plugin(attack)[0])  # type: ignore[type-abstract]
    if cls.effort is None:
        raise RequestError(
            f"attack {cls.name!r} has no budget to draw a curve over: it is done in one piece"
        )
    return cls.effort


def curve_suite(axes: Mapping[str, Sequence[Any]], settings: Mapping[str, Any]) -> Suite:
    """A block for every attack and every value of its effort, with all combinations of the other
    axes.

    Raises:
        RequestError: as ``effort_of``; or a setting or an attack's parameter is the knob itself, or
            is impossible.
    """
    blocks: dict[str, Block] = {}
    for attack in axes["attacks"]:
        effort = effort_of(attack)
        fixed = (
            parse_plugin(attack)[1]
            if not effort.in_budget
            else {"iterations": settings.get("iterations")}
        )
        if fixed.get(effort.knob) is not None:
            raise RequestError(f"{attack}: {effort.knob} is what the curve runs over; leave it out")
        for value in effort.values:
            if effort.in_budget:
                spelled, own = attack, {**settings, effort.knob: value}
            else:
                spelled, own = (
                    f"{attack}{',' if ':' in attack else ':'}{effort.knob}={value}",
                    dict(settings),
                )
            blocks[f"{attack} {effort.knob}={value}"] = block_of(
                {**axes, "attacks": (spelled,)}, own
            )
    return Suite("curve", SuiteFile(blocks=blocks))
