"""``bench reproduce``: make a row again from its specification."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.errors import one_sentence
from bench.cli.options import FILE, results_option, weights_option
from bench.util.errors import CheckFailedError


@click.command()
@click.argument("row")
@click.option(
    "--rows",
    "csv_file",
    type=FILE,
    show_default="the ledger in --results",
    help="The row is read from this CSV file.",
)
@weights_option
@click.option(
    "--tolerance",
    type=float,
    show_default="as measured between processors",
    help="Every number may differ by this share of itself.",
)
@click.option("--details", is_flag=True, help="Also list every field that differs.")
@results_option
def reproduce(
    row: str,
    csv_file: Path | None,
    weights: Path | None,
    tolerance: float | None,
    details: bool,
    results: Path,
) -> None:
    """Make a row again and compare it.

    ROW is the id of a cell, or the beginning of one. The row is made from its own specification,
    and every field but the timings is compared. The victim is trained again; nothing that was
    kept is used. The exit code is 1 where the row is not reproduced.
    """
    with one_sentence():
        from bench.planning.planner import Planner
        from bench.running.reproduce import find_rows, report
        from bench.running.reproduce import reproduce as make_again
        from bench.util.progress import terminal_progress

        progress = terminal_progress()
        reproduction = make_again(
            find_rows(row, results, csv_file),
            Planner(progress),
            progress,
            weights_dir=weights,
            tolerance=tolerance,
        )
        sentence, *lines = report(reproduction)
        for line in lines if details else ():
            click.echo(line)
        if not reproduction.reproduced:
            raise CheckFailedError(sentence)
        click.echo(sentence)
