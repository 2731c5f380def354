"""The command line; it imports nothing heavy until a command needs it."""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

import click

from bench import __version__
from bench.cli.check import check
from bench.cli.describe import describe
from bench.cli.frontier import frontier
from bench.cli.leaderboard import leaderboard
from bench.cli.ls import list_plugins
from bench.cli.merge import merge
from bench.cli.options import CommandWithExamples
from bench.cli.reproduce import reproduce
from bench.cli.run import run
from bench.cli.sheet import sheet
from bench.cli.summary import summary
from bench.cli.tolerance import tolerance
from bench.util.terminal import fit_output

COMMANDS: tuple[click.Command, ...] = (
    run,
    list_plugins,
    describe,
    leaderboard,
    frontier,
    summary,
    merge,
    check,
    reproduce,
    tolerance,
    sheet,
)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


class SuggestingGroup(CommandWithExamples, click.Group):
    """A group that suggests a command for a misspelt one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Return the command that ``args`` begin with.

        Raises:
            UsageError: there is no such command.
        """
        from bench.util.text import suggestion

        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise click.UsageError(
                f"no command {args[0]!r}{suggestion(args[0], self.commands)}", ctx
            )
        return super().resolve_command(ctx, args)


@click.group(
    cls=SuggestingGroup,
    examples=(
        "bench run --attack inversion --defense timestep     run one cell, end to end",
        "bench run standard                                  run a suite: a grid from a file",
        "bench ls                                            list what is installed",
        "bench describe closed-form                          explain a plugin and its parameters",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """Attack and defend split training of ControlNet and Stable Diffusion."""
    fit_output()
    if not os.path.isdir(os.curdir):
        raise click.UsageError("the working directory does not exist any more; change to another")
    # Without a home directory matplotlib makes a cache elsewhere, and warns.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, _interrupt)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


for _command in COMMANDS:
    main.add_command(_command)
