"""``bench summary``: one table of means from rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.errors import one_sentence
from bench.util.errors import DataError, RequestError
from bench.util.terminal import fit_output

if TYPE_CHECKING:
    import pandas


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

    from bench.reports.summary import summarise

    fit_output()
    with one_sentence():
        pairs = [part.partition("=") for part in where]
        if any(not equals for _, equals, _ in pairs):
            raise RequestError("--where takes COLUMN=VALUE")
        frame = pandas.concat([_read(path) for path in rows], ignore_index=True)
        chosen = {column: value for column, _, value in pairs}
        click.echo(summarise(frame, metrics, where=chosen, per_attack=not utility, mark=mark))


def _read(path: Path) -> pandas.DataFrame:
    import pandas

    from bench.ledger.merge_read import TEXT_COLUMNS, parse_field
    from bench.reports.summary import KEYS
    from bench.util.csv_text import read_table

    lines = read_table(path, texts=TEXT_COLUMNS)
    if not lines:
        raise DataError(f"{path}: has no rows")
    missing = [
        name
        for name in (*KEYS, "attack", "target", "capture_id", "seed", "status")
        if name not in lines[0]
    ]
    if missing:
        raise DataError(f"{path}: column {missing[0]!r} is missing; is it a rows.csv?")
    rows = [
        {name: parse_field(name, value) if value else None for name, value in line.items()}
        for line in lines
    ]
    return pandas.DataFrame(rows).fillna({"withheld_from_view": ""})
