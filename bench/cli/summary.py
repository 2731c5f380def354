"""``bench summary``: one table of means from rows."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.errors import one_sentence
from bench.util.errors import RequestError
from bench.util.terminal import fit_output


@click.command()
@click.argument("rows", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--metric", "metrics", multiple=True, default=("ssim",), show_default=True)
@click.option(
    "--where",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Keep these rows, and leave the column out.",
)
@click.option(
    "--utility", is_flag=True, help="Columns of the trained model instead of the attacks' scores."
)
@click.option("--mark", is_flag=True, help="The attack with the largest value of a line in bold.")
def summary(
    rows: tuple[Path, ...],
    metrics: tuple[str, ...],
    where: tuple[str, ...],
    utility: bool,
    mark: bool,
) -> None:
    """Summarise ROWS, one rows.csv or several, over seeds."""
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
