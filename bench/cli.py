"""The command line. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from bench import __version__
from bench.errors import BenchError, CellFailedError, RequestError
from bench.spec import SplitSizes, TrainSpec, UtilitySpec

_SIZES, _TRAIN, _UTILITY = SplitSizes(), TrainSpec(), UtilitySpec()

RESULTS = click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Where ledger, rows.csv, captures and pictures are kept.",
)


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """Errors of the request end in one sentence and an exit code; anything else keeps its traceback."""
    try:
        yield
    except BenchError as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("bench: interrupted; finished captures and rows are kept, run again to go on", err=True)
        sys.exit(130)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


class Sentences(click.Group):
    """A group whose own usage errors also end with exit code 2 and a suggestion."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from bench.registry import suggestion

        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}{suggestion(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Sentences, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """Attack and defend split training of ControlNet and Stable Diffusion.

    \b
    bench run --attack inversion --defense timestep     one cell, end to end
    bench ls                                            what is installed
    bench describe closed-form                          what a plugin is, and its parameters
    """
    signal.signal(signal.SIGTERM, _interrupt)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@main.command()
@click.option(
    "--attack", "attacks", multiple=True, default=("inversion",), show_default=True, help="name[:key=value,…]"
)
@click.option("--defense", "defenses", multiple=True, default=("none",), show_default=True, help="Stack with +.")
@click.option("--victim", "victims", multiple=True, default=("split-controlnet",), show_default=True)
@click.option("--seed", "seeds", multiple=True, type=click.IntRange(min=0), default=(0,), show_default=True)
@click.option("--protocol", help="no-gradient, gradient or u-shaped; default: the victim's first.")
@click.option("--model", help="pocket, a directory in diffusers layout, or a hub id owner/name[@revision].")
@click.option("--data", default="portraits", show_default=True, help="portraits, or folder:PATH.")
@click.option("--condition", default="canny", show_default=True, help="Extractor of the hint images.")
@click.option("--image-size", type=click.IntRange(min=16), default=64, show_default=True)
@click.option("--threat", default="server", show_default=True, help="Threat model, by the name of a preset.")
@click.option("--withhold", default="", help="Channels the attacker does not see though they are sent: a,b")
@click.option("--epochs", type=click.IntRange(min=1), default=_TRAIN.epochs, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=_TRAIN.batch_size, show_default=True)
@click.option(
    "--learning-rate", type=click.FloatRange(min=0, min_open=True), default=_TRAIN.learning_rate, show_default=True
)
@click.option(
    "--records", type=click.IntRange(min=2), default=_SIZES.victim, show_default=True, help="Private records."
)
@click.option(
    "--auxiliary",
    type=click.IntRange(min=2),
    default=_SIZES.auxiliary,
    show_default=True,
    help="The attacker's records.",
)
@click.option("--calibration", type=click.IntRange(min=8), default=_SIZES.calibration, show_default=True)
@click.option("--evaluation", type=click.IntRange(min=2), default=_SIZES.evaluation, show_default=True)
@click.option("--iterations", type=click.IntRange(min=0), help="The attack's budget; default: its own.")
@click.option("--attack-batch-size", type=click.IntRange(min=1), help="Likewise.")
@click.option("--targets", type=click.IntRange(min=2), default=64, show_default=True, help="Releases to reconstruct.")
@click.option("--epoch", type=int, default=-1, show_default=True, help="Which epoch of the wire is attacked.")
@click.option("--utility-steps", type=click.IntRange(min=1), default=_UTILITY.steps, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--dtype", type=click.Choice(["fp32", "bf16"]), default=_TRAIN.dtype, show_default=True)
@click.option("--backbones", default="auto", show_default=True, help="auto or embedded.")
@click.option("--weights", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Your backbone weights.")
@click.option("--fresh", is_flag=True, help="Train and measure anew even where a capture can be reused.")
@RESULTS
def run(
    attacks: tuple[str, ...],
    defenses: tuple[str, ...],
    victims: tuple[str, ...],
    seeds: tuple[int, ...],
    results: Path,
    fresh: bool,
    **options: Any,
) -> None:
    """Train a victim under a defence, attack what it sent, score the claim, and store the row.

    --attack, --defense, --victim and --seed may be repeated; every combination is a cell.

    \b
    bench run --attack inversion --defense timestep
    bench run --attack closed-form --defense none --defense published --withhold noise_target
    bench run --data folder:my/pictures --model my/stable-diffusion
    """
    with one_sentence():
        from bench.run_command import run_grid

        failed = run_grid(attacks, defenses, victims, seeds, results=results, fresh=fresh, options=options)
        if failed:
            raise CellFailedError(f"{failed} of the cells failed; their rows in {results / 'rows.csv'} say why")


@main.command("ls")
@click.argument("kind", required=False)
@RESULTS
def list_plugins(kind: str | None, results: Path) -> None:
    """List what is installed: attacks, defenses, victims, metrics, datasets."""
    with one_sentence():
        from bench.registry import KINDS, listing, suggestion

        if kind is not None and kind not in KINDS:
            raise RequestError(f"unknown kind {kind!r}{suggestion(kind, KINDS)}")
        for one in (kind,) if kind else KINDS:
            registry = listing(one)
            click.echo(one)
            for name in registry.names():
                click.echo(f"  {name:<18} {registry.origin(name)}")


@main.command()
@click.argument("name")
@click.option("--model", help="Also say what a model's conv_in means for closed-form.")
@RESULTS
def describe(name: str, model: str | None, results: Path) -> None:
    """Say what a plugin, a threat model or a channel is, and what parameters it takes."""
    with one_sentence():
        from bench.describe import describe_text

        click.echo(describe_text(name, model=model))


if __name__ == "__main__":
    main()
