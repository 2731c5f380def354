"""``bench summary``: one table of means over seeds, from rows."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.errors import one_sentence
from bench.cli.options import FILE
from bench.util.errors import RequestError
from bench.util.terminal import fit_output


@click.command()
@click.argument("rows", nargs=-1, required=True, type=FILE)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    default=("ssim",),
    show_default=True,
    help="The table has a column for this metric. May be repeated.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Only rows with this value count, and the column is left out. May be repeated.",
)
@click.option(
    "--utility",
    is_flag=True,
    help="Show the utility of the trained model in place of the scores of attacks.",
)
@click.option("--mark", is_flag=True, help="Print the largest value of each line in bold.")
def summary(
    rows: tuple[Path, ...],
    metrics: tuple[str, ...],
    where: tuple[str, ...],
    utility: bool,
    mark: bool,
) -> None:
    """Print means over seeds as a Markdown table.

    ROWS are one or several rows.csv files.
    """
    import pandas

    from bench.api.rows import load_results
    from bench.reports.summary import summarise

    fit_output()
    with one_sentence():
        pairs = [part.partition("=") for part in where]
        if any(not equals for _, equals, _ in pairs):
            raise RequestError("--where takes COLUMN=VALUE")
        frame = pandas.concat([load_results(path) for path in rows], ignore_index=True)
        chosen = {column: value for column, _, value in pairs}
        click.echo(summarise(frame, metrics, where=chosen, per_attack=not utility, mark=mark))
