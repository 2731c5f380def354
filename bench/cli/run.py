"""``bench run``: train victims, attack what they sent, score the claims and store the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bench.cli.errors import one_sentence
from bench.cli.options import (
    GroupedCommand,
    GroupedOption,
    running_options,
    setting_options,
    weights_parameter,
)
from bench.planning.suite import AXES, Block
from bench.settings.table import ATTACK, ATTACKED, DATA, RUNNING, SCORING, SETTINGS, TRAINING
from bench.util.errors import RequestError


def axis_option(name: str, group: str, **attributes: Any) -> GroupedOption:
    """Return the option of an axis of the grid, as ``Block`` declares the axis."""
    info = Block.model_fields[AXES[name]]
    default = () if info.is_required() or info.default in (None, ((),)) else info.default
    return GroupedOption(
        [f"--{name}", AXES[name]],
        group=group,
        multiple=True,
        help=f"{info.description} May be repeated.",
        **{"default": default, "show_default": True, **attributes},
    )


OPTIONS: list[click.Parameter] = [
    click.Argument(["suite"], required=False),
    axis_option("victim", ATTACKED),
    axis_option("protocol", ATTACKED, show_default="the victim's first"),
    axis_option("defense", ATTACKED),
    *setting_options(ATTACKED),
    axis_option("seed", ATTACKED, type=click.IntRange(min=0)),
    *setting_options(DATA),
    *setting_options(TRAINING),
    axis_option("attack", ATTACK, default=("inversion",)),
    axis_option("threat", ATTACK),
    axis_option("withhold", ATTACK, show_default=False),
    *setting_options(ATTACK),
    GroupedOption(
        ["--curve"],
        group=ATTACK,
        is_flag=True,
        help="Run each attack at every value of its budget, and draw its success over the budget.",
    ),
    *setting_options(SCORING),
    weights_parameter(),
    *setting_options(RUNNING),
    *running_options(),
]


@click.command(
    cls=GroupedCommand,
    params=OPTIONS,
    examples=(
        "bench run --attack inversion --defense timestep",
        "bench run --attack closed-form --defense none --defense published --withhold noise_target",
        "bench run standard --jobs 2",
        "bench run --data folder:my/pictures --model my/stable-diffusion",
    ),
)
@click.pass_context
def run(
    ctx: click.Context, /, suite: str | None, weights: Path | None, curve: bool, **options: Any
) -> None:
    """Train, attack and score cells; store their rows.

    Each cell trains a victim under a defence, attacks what the victim sent, scores what the attack
    claims, and stores a row for each target.

    SUITE is the name of a suite (see bench ls suites) or a .yaml file; settings given as options
    replace those of the suite. Without SUITE, --attack, --defense, --victim, --protocol, --threat,
    --withhold and --seed may be repeated, and every combination is a cell. A cell that is in the
    ledger already is not run again.
    """
    with one_sentence():
        from bench.cli.execution import Running, run_curve, run_file, run_options

        given = {
            name
            for name in options
            if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        }
        axes = {name: options.pop(name) for name in AXES.values()}
        settings = {name: options.pop(name) for name in SETTINGS}
        chosen = {name: value for name, value in settings.items() if name in given}
        running = Running(**options)
        if suite is None:
            (run_curve if curve else run_options)(axes, chosen, weights, running)
            return
        if curve:
            raise RequestError(
                "--curve goes with options; a suite sets the budgets of its attacks itself"
            )
        if clash := [option for option, axis in AXES.items() if axis in given]:
            raise RequestError(
                f"--{clash[0]} is an axis of the grid: give a suite or options, not both"
            )
        run_file(suite, chosen, weights, running)
