"""Options of several commands, options made from settings, and help under headings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from bench.settings.table import RUNNING, SCORING, SETTINGS, Setting

F = TypeVar("F", bound=Callable[..., Any])

RESULTS_HELP = "Ledger, rows.csv, captures and pictures are kept in this directory."
WEIGHTS_HELP = "The weights of your feature extractors are in this directory."
CACHES = "the caches of PyTorch and Hugging Face"
DIRECTORY = click.Path(file_okay=False, path_type=Path)
EXISTING_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


class GroupedOption(click.Option):
    """An option that stands under a heading in the help.

    Args:
        group: the heading.
    """

    def __init__(self, names: list[str], *, group: str, **attributes: Any) -> None:
        super().__init__(names, **attributes)
        self.group = group


class CommandWithExamples(click.Command):
    """A command whose help ends with examples, each on one line.

    Args:
        examples: the lines.
    """

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, where there are any."""
        if not self.examples:
            return
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class GroupedCommand(CommandWithExamples):
    """A command whose help has one section for each group of options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each under its heading; options without one come last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        others: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or not isinstance(parameter, click.Option):
                continue
            if isinstance(parameter, GroupedOption):
                sections.setdefault(parameter.group, []).append(record)
            else:
                others.append(record)
        for heading, records in (*sections.items(), ("Other", others)):
            with formatter.section(heading):
                formatter.write_dl(records)


def results_option(command: F) -> F:
    """Add ``--results``, the results directory."""
    return click.option(
        "--results", type=DIRECTORY, default=Path("results"), show_default=True, help=RESULTS_HELP
    )(command)


def weights_option(command: F) -> F:
    """Add ``--weights``, the directory of the user's feature extractors."""
    return click.option(
        "--weights", type=EXISTING_DIRECTORY, show_default=CACHES, help=WEIGHTS_HELP
    )(command)


def setting_options(group: str) -> list[click.Parameter]:
    """Return the options of the settings of one group, as their fields declare them."""
    return [setting_option(setting) for setting in SETTINGS.values() if setting.group == group]


def setting_option(setting: Setting) -> GroupedOption:
    """Return the option of a setting: type, bounds, default and help are those of its field."""
    return GroupedOption(
        [setting.option, setting.name], group=setting.group, **_attributes(setting)
    )


def setting_decorator(name: str) -> Callable[[F], F]:
    """Return a decorator that adds the option of one setting to another command."""
    setting = SETTINGS[name]
    return click.option(setting.option, setting.name, **_attributes(setting))


def _attributes(setting: Setting) -> dict[str, Any]:
    return {
        "type": parameter_type(setting.info),
        "default": setting.default,
        "show_default": setting.default_text or True,
        "help": setting.info.description,
    }


def parameter_type(info: FieldInfo) -> click.ParamType[Any]:
    """Return the click type of a field: its choices, or its numbers with their bounds.

    Bounds that pydantic knows and click does not are left to pydantic.
    """
    annotation = info.annotation
    if get_origin(annotation) is Literal:
        return click.Choice(list(get_args(annotation)))
    bounds: dict[str, Any] = {}
    for rule in info.metadata:
        if (least := getattr(rule, "ge", None)) is not None:
            bounds["min"] = least
        elif (above := getattr(rule, "gt", None)) is not None:
            bounds.update(min=above, min_open=True)
    if annotation is int:
        return click.IntRange(**bounds) if bounds else click.INT
    if annotation is float:
        return click.FloatRange(**bounds) if bounds else click.FLOAT
    return click.STRING


def running_options() -> list[click.Parameter]:
    """Return the options of how cells are run, which shape no score."""

    def option(*names: str, **attributes: Any) -> GroupedOption:
        return GroupedOption(list(names), group=RUNNING, **attributes)

    return [
        option(
            "--results",
            type=DIRECTORY,
            default=Path("results"),
            show_default=True,
            help=RESULTS_HELP,
        ),
        option(
            "--engine",
            type=click.Choice(["serial", "processes", "ray"]),
            show_default="processes for a suite or several jobs, else serial",
            help="Cells run on this engine.",
        ),
        option(
            "--jobs",
            type=click.IntRange(min=1),
            show_default="one for each core in a suite, else 1",
            help="This many workers run side by side.",
        ),
        option(
            "--threads",
            type=click.IntRange(min=1),
            show_default="1 in a suite, else what PyTorch takes",
            help="Each worker computes with this many threads.",
        ),
        option(
            "--address",
            show_default="a local Ray is started",
            help="With --engine ray, workers run on the Ray cluster at this address.",
        ),
        option(
            "--time-limit",
            type=click.FloatRange(min=0, min_open=True),
            show_default="the suite's, else none",
            help="A cell may take this many seconds, the training of its capture included.",
        ),
        option(
            "--memory-limit",
            type=click.IntRange(min=1),
            show_default="the suite's, else none",
            help="The process of a cell may hold this many MiB.",
        ),
        option("--fresh", is_flag=True, help="Train and measure again even what the ledger holds."),
        option(
            "--retry-failed",
            is_flag=True,
            help="Run cells again that failed or ran out of time.",
        ),
        option("--dry-run", is_flag=True, help="Print the plan and stop."),
        option("--debug", is_flag=True, help="Show the traceback of each cell that failed."),
    ]


def weights_parameter() -> GroupedOption:
    """Return ``--weights`` as an option under the heading of scoring."""
    return GroupedOption(
        ["--weights"],
        group=SCORING,
        type=EXISTING_DIRECTORY,
        show_default=CACHES,
        help=WEIGHTS_HELP,
    )
