"""The command line. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bench import __version__
from bench.cli.errors import one_sentence
from bench.cli.sheet import sheet
from bench.cli.summary import summary
from bench.cli.tolerance import tolerance
from bench.data.split_sizes import SplitSizes
from bench.spec.cell import TrainSpec, UtilitySpec
from bench.util.errors import CheckFailedError, RequestError
from bench.util.terminal import fit_output

_SIZES, _TRAIN, _UTILITY = SplitSizes(), TrainSpec(), UtilitySpec()
_AXES = {
    "attacks": "attack",
    "defenses": "defense",
    "victims": "victim",
    "protocols": "protocol",
    "threats": "threat",
    "withhold": "withhold",
    "seeds": "seed",
}
_RUNNING = (
    *("results", "engine", "jobs", "threads", "address", "time_limit", "memory_limit"),
    *("fresh", "retry_failed", "dry_run", "debug"),
)

RESULTS = click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Where ledger, rows.csv, captures and pictures are kept.",
)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _show_report(report: Path, printed: list[str], counts: str) -> None:
    """Say where a report is; what could not be written there stands in ``printed``."""
    place = f"not written, since {report.parent} is read-only" if printed else str(report)
    click.echo("\n".join([*printed, f"{place}: {counts}"]))


class Sentences(click.Group):
    """A group whose own usage errors also end with exit code 2 and a suggestion."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from bench.util.text import suggestion

        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise click.UsageError(
                f"no command {args[0]!r}{suggestion(args[0], self.commands)}", ctx
            )
        return super().resolve_command(ctx, args)


@click.group(
    cls=Sentences,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """Attack and defend split training of ControlNet and Stable Diffusion.

    \b
    bench run --attack inversion --defense timestep     one cell, end to end
    bench run standard                                  a suite: a grid from a file
    bench ls                                            what is installed
    bench describe closed-form                          what a plugin is, and its parameters
    """
    fit_output()
    if not os.path.isdir(os.curdir):
        raise click.UsageError("the working directory does not exist any more; change to another")
    logging.getLogger("matplotlib").setLevel(
        logging.ERROR
    )  # without a home it makes a cache elsewhere, and warns
    signal.signal(signal.SIGTERM, _interrupt)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@main.command()
@click.argument("suite", required=False)
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    default=("inversion",),
    show_default=True,
    help="name[:key=value,…]",
)
@click.option(
    "--defense",
    "defenses",
    multiple=True,
    default=("none",),
    show_default=True,
    help="Stack with +.",
)
@click.option(
    "--victim", "victims", multiple=True, default=("split-controlnet",), show_default=True
)
@click.option(
    "--seed", "seeds", multiple=True, type=click.IntRange(min=0), default=(0,), show_default=True
)
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    help="no-gradient, gradient or u-shaped; default: the victim's first.",
)
@click.option(
    "--model", help="pocket, a directory in diffusers layout, or a hub id owner/name@COMMIT."
)
@click.option(
    "--data",
    default="portraits",
    show_default=True,
    help="portraits, fill, photos, or folder:PATH.",
)
@click.option(
    "--condition",
    default="auto",
    show_default=True,
    help="Hint images: canny, scribble, blur, random, or hints of the data set's own; auto is its own, else canny.",
)
@click.option("--image-size", type=click.IntRange(min=16), default=64, show_default=True)
@click.option(
    "--threat",
    "threats",
    multiple=True,
    default=("server",),
    show_default=True,
    help="Threat model, by its name.",
)
@click.option(
    "--withhold", multiple=True, help="Channels the attacker does not see though they are sent: a,b"
)
@click.option("--epochs", type=click.IntRange(min=1), default=_TRAIN.epochs, show_default=True)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=_TRAIN.batch_size, show_default=True
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=_TRAIN.learning_rate,
    show_default=True,
)
@click.option(
    "--records",
    type=click.IntRange(min=2),
    default=_SIZES.victim,
    show_default=True,
    help="Private records.",
)
@click.option(
    "--auxiliary",
    type=click.IntRange(min=2),
    default=_SIZES.auxiliary,
    show_default=True,
    help="The attacker's records.",
)
@click.option(
    "--calibration", type=click.IntRange(min=8), default=_SIZES.calibration, show_default=True
)
@click.option(
    "--evaluation", type=click.IntRange(min=2), default=_SIZES.evaluation, show_default=True
)
@click.option(
    "--iterations", type=click.IntRange(min=0), help="The attack's budget; default: its own."
)
@click.option("--attack-batch-size", type=click.IntRange(min=1), help="Likewise.")
@click.option(
    "--targets",
    type=click.IntRange(min=2),
    default=64,
    show_default=True,
    help="Releases to reconstruct.",
)
@click.option(
    "--epoch", type=int, default=-1, show_default=True, help="Which epoch of the wire is attacked."
)
@click.option(
    "--utility-steps", type=click.IntRange(min=1), default=_UTILITY.steps, show_default=True
)
@click.option("--device", default="auto", show_default=True)
@click.option(
    "--dtype", type=click.Choice(["fp32", "bf16"]), default=_TRAIN.dtype, show_default=True
)
@click.option(
    "--backbones",
    default="auto",
    show_default=True,
    help="auto, embedded, or names: alex, vgg, inception-v3, clip-vit-base-patch32, clip-vit-large-patch14, "
    "clip:DIR; role=name for one of identity, distribution, perceptual, prompt. Separate by commas.",
)
@click.option(
    "--weights",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where your backbone weights are; default: the caches of PyTorch and Hugging Face.",
)
@click.option(
    "--curve",
    is_flag=True,
    help="Run each attack at every value of its budget, and draw success over it.",
)
@click.option("--fresh", is_flag=True, help="Train and measure anew even what is in the ledger.")
@click.option(
    "--retry-failed", is_flag=True, help="Run cells again that failed or ran out of time."
)
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--debug", is_flag=True, help="Show the traceback of each cell that failed.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Workers side by side; default: a suite takes all cores.",
)
@click.option(
    "--engine",
    type=click.Choice(["serial", "processes", "ray"]),
    help="Default: processes for a suite or several jobs, else serial.",
)
@click.option("--address", help="Of a Ray cluster; without it, --engine ray starts a local Ray.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="Of each worker; default: 1 in a suite."
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds a cell; default: the suite's.",
)
@click.option(
    "--memory-limit", type=click.IntRange(min=1), help="MiB a cell's process; default: the suite's."
)
@RESULTS
@click.pass_context
def run(
    ctx: click.Context, /, suite: str | None, weights: Path | None, curve: bool, **options: Any
) -> None:
    """Train victims under defences, attack what they sent, score the claims, and store the rows.

    SUITE is a suite's name (bench ls suites) or a .yaml file; options of the training then count
    before the file's. Without it --attack, --defense, --victim, --protocol, --threat, --withhold
    and --seed may be repeated; every combination is a cell. What is in the ledger already is not
    run again.

    \b
    bench run --attack inversion --defense timestep
    bench run --attack closed-form --defense none --defense published --withhold noise_target
    bench run standard --jobs 2
    bench run --data folder:my/pictures --model my/stable-diffusion
    """
    with one_sentence():
        from bench.cli.run import Running, run_curve, run_file, run_options

        axes = {name: options.pop(name) for name in _AXES}
        running = Running(**{name: options.pop(name) for name in _RUNNING})
        if suite is None:
            (run_curve if curve else run_options)(axes, options, weights, running)
            return
        if curve:
            raise RequestError("--curve is for options; a suite says itself what its attacks spend")
        given = {
            name
            for name in (*axes, *options)
            if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        }
        if clash := sorted(given & axes.keys()):
            raise RequestError(
                f"--{_AXES[clash[0]]} is an axis of the grid: give a suite or options, not both"
            )
        run_file(
            suite,
            {name: value for name, value in options.items() if name in given},
            weights,
            running,
        )


@main.command("ls")
@click.argument("kind", required=False)
@RESULTS
def list_plugins(kind: str | None, results: Path) -> None:
    """List what is installed: attacks, defenses, victims, metrics, datasets, suites."""
    with one_sentence():
        from bench.interfaces.registry import KINDS, listing
        from bench.planning.suite import shipped
        from bench.running.plugin_check import plugin_faults
        from bench.util.text import suggestion

        kinds = (*KINDS, "suites")
        if kind is not None and kind not in kinds:
            raise RequestError(f"unknown kind {kind!r}{suggestion(kind, kinds)}")
        faults = plugin_faults()
        for one in (kind,) if kind else kinds:
            if one == "suites":
                click.echo(
                    "\n".join(
                        ["suites", *(f"  {name:<20} {said}" for name, said in shipped().items())]
                    )
                )
                continue
            registry = listing(one)
            click.echo(one)
            for name in registry.names():
                clash = "" if registry.is_clash(name) else registry.origin(name)
                click.echo(f"  {name:<20} {clash}".rstrip())
                for fault in faults.get((one, name), ()):
                    click.echo(f"  {'':<20} fault: {fault}")


@main.command()
@click.argument("name")
@click.option("--model", help="Also say what a model's conv_in means for closed-form.")
@RESULTS
def describe(name: str, model: str | None, results: Path) -> None:
    """Say what a plugin, a threat model or a channel is and what parameters it takes, or what a suite would run."""
    with one_sentence():
        from bench.planning.suite import SHIPPED

        if name.endswith((".yaml", ".yml")) or (SHIPPED / f"{name}.yaml").exists():
            from bench.cli.run import describe_suite

            click.echo(describe_suite(name))
            return
        from bench.reports.describe import describe_text

        click.echo(describe_text(name, model=model))


@main.command()
@click.option("--metric", default="ssim", show_default=True, help="What ranks, where rows have it.")
@click.option(
    "--against",
    default="none",
    show_default=True,
    help="The defence that others are compared with.",
)
@RESULTS
def leaderboard(metric: str, against: str, results: Path) -> None:
    """Rank the defences by their worst attack: leaderboard.csv and leaderboard.md under --results."""
    with one_sentence():
        from bench.reports.leaderboard_files import write_leaderboard

        printed: list[str] = []
        entries = write_leaderboard(results, measure=metric, reference=against, show=printed.append)
        partial = sum(entry.rank is None for entry in entries)
        counts = f"{len(entries)} rows, {partial} of them partial and not ranked"
        _show_report(results / "leaderboard.md", printed, counts)


@main.command()
@click.option(
    "--metric",
    default="ssim",
    show_default=True,
    help="What measures the leak, where rows have it.",
)
@click.option(
    "--against", default="none", show_default=True, help="The defence whose quality is 1."
)
@RESULTS
def frontier(metric: str, against: str, results: Path) -> None:
    """Leak of the worst attack against quality: frontier.csv, frontier.md and a plot for each view under --results."""
    with one_sentence():
        from bench.reports.frontier_files import write_frontier

        printed: list[str] = []
        points = write_frontier(results, measure=metric, reference=against, show=printed.append)
        reached = sum(point.reaches_goal for point in points)
        counts = f"{len(points)} points, {reached} of them reach the goal"
        _show_report(results / "frontier.md", printed, counts)


@main.command()
@click.argument("others", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
)
@click.option(
    "--keep-conflicts", is_flag=True, help="Keep the first of two cells that disagree, with a flag."
)
def merge(others: tuple[Path, ...], into: Path, keep_conflicts: bool) -> None:
    """Take the cells of OTHERS (results directories, ledger.sqlite or rows.csv) into one ledger."""
    with one_sentence():
        from bench.ledger.merge import merge as merge_ledgers

        done = merge_ledgers(others, into, keep_conflicts=keep_conflicts)
        for conflict in done.conflicts:
            click.echo(f"conflict: {conflict}; the first was kept, with a flag")
        click.echo(
            f"{into}: {done.added} cells added, {done.known} known, {len(done.conflicts)} in conflict"
        )


@main.command()
@click.argument("suite", required=False)
@click.option(
    "--baseline",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Default: RESULTS/baseline.csv.",
)
@click.option("--update", is_flag=True, help="Make what the suite gives now the baseline.")
@click.option("--reason", help="Why; kept in the history beside the baseline. Needed by --update.")
@click.option("--metric", help="Of a new baseline, where rows have it.  [default: ssim]")
@click.option(
    "--tolerance", type=float, help="Of a new baseline: attacks, normalized.  [default: 0.01]"
)
@click.option(
    "--utility-tolerance", type=float, help="Of a new baseline: relative.  [default: 0.05]"
)
@click.option("--accept-failed", is_flag=True, help="A new baseline may hold cells that failed.")
@click.option("--allow-new", is_flag=True, help="Rows that the baseline lacks are no finding.")
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Also write JUnit XML."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the verdict as JSON in place of lines."
)
@click.option("--github-summary", is_flag=True, help="Also add a table to GitHub's step summary.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Workers side by side; default: all cores."
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of each worker; default: 1.")
@click.option(
    "--weights",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Your backbone weights.",
)
@RESULTS
def check(**options: Any) -> None:
    """Run what SUITE lacks in --results, and compare exactly its cells with a baseline.

    Without SUITE the ledger is judged as it is, by the suite that the baseline names. Exit code 0:
    nothing got worse; 1: something did; 4: something could not be compared, so nobody can say.

    \b
    bench check smoke --update --reason "first baseline"
    bench check smoke
    """
    with one_sentence():
        from bench.cli.check import CheckOptions, run_check

        run_check(CheckOptions(**options))


@main.command()
@click.argument("row")
@click.option(
    "--rows",
    "csv_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A CSV; default: the ledger.",
)
@click.option(
    "--weights",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Your backbone weights.",
)
@click.option(
    "--tolerance",
    type=float,
    help="Relative, of all numbers; default: as measured between processors.",
)
@click.option("--details", is_flag=True, help="Also list every field that differs.")
@RESULTS
def reproduce(
    row: str,
    csv_file: Path | None,
    weights: Path | None,
    tolerance: float | None,
    details: bool,
    results: Path,
) -> None:
    """Make ROW again from its own spec, and say whether every field but the timings came out as it
    was.

    ROW is a cell's id, or the beginning of one. Nothing that was kept is used. Exit code 1 where it
    is not reproduced.
    """
    with one_sentence():
        from bench.planning.planner import Planner
        from bench.running.reproduce import find_rows, report
        from bench.running.reproduce import reproduce as make_again
        from bench.util.progress import shown_progress

        progress = shown_progress()
        found = find_rows(row, results, csv_file)
        again = make_again(
            found, Planner(progress), progress, weights_dir=weights, tolerance=tolerance
        )
        sentence, *lines = report(again)
        for line in lines if details else ():
            click.echo(line)
        if not again.reproduced:
            raise CheckFailedError(sentence)
        click.echo(sentence)


for _command in (sheet, summary, tolerance):
    main.add_command(_command)
