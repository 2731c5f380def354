"""``bench check``: compare a suite with a baseline."""

from __future__ import annotations

from typing import Any

import click

from bench.cli.errors import one_sentence
from bench.cli.options import FILE, CommandWithExamples, results_option, weights_option


@click.command(
    cls=CommandWithExamples,
    examples=(
        'bench check smoke --update --reason "first baseline"',
        "bench check smoke",
    ),
)
@click.argument("suite", required=False)
@click.option(
    "--baseline",
    type=FILE,
    show_default="baseline.csv in --results",
    help="The suite is compared with this baseline.",
)
@click.option("--update", is_flag=True, help="Make the suite's present state the baseline.")
@click.option(
    "--reason",
    help="With --update: why the baseline changes; it is kept in the history beside the baseline.",
)
@click.option(
    "--metric",
    show_default="ssim",
    help="With --update: the new baseline compares this metric, where rows have it.",
)
@click.option(
    "--tolerance",
    type=float,
    show_default="0.01",
    help="With --update: a normalized score may differ by this much.",
)
@click.option(
    "--utility-tolerance",
    type=float,
    show_default="0.05",
    help="With --update: a utility may differ by this share of itself.",
)
@click.option(
    "--accept-failed",
    is_flag=True,
    help="With --update: the new baseline may hold cells that failed.",
)
@click.option("--allow-new", is_flag=True, help="Accept rows that the baseline lacks.")
@click.option("--junit", type=FILE, help="Also write the verdict to this file, as JUnit XML.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON, not as lines.")
@click.option(
    "--github-summary", is_flag=True, help="Also add a table to the step summary of GitHub."
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    show_default="one for each core",
    help="This many workers run side by side.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    show_default="1",
    help="Each worker computes with this many threads.",
)
@weights_option
@results_option
def check(**options: Any) -> None:
    """Compare a suite with a baseline.

    The cells of SUITE that --results lacks are run first. Without SUITE the ledger is judged as it
    is, by the suite that the baseline names. The exit code is 0 where nothing got worse, 1 where
    something did, and 4 where something could not be compared.
    """
    with one_sentence():
        from bench.cli.check_suite import CheckOptions, run_check

        run_check(CheckOptions(**options))
