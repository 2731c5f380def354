"""``bench merge``: take the cells of several ledgers into one."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.errors import one_sentence
from bench.cli.options import DIRECTORY


@click.command()
@click.argument("others", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--into",
    type=DIRECTORY,
    default=Path("results"),
    show_default=True,
    help="The cells are added to the ledger of this results directory.",
)
@click.option(
    "--keep-conflicts",
    is_flag=True,
    help="Of two cells that disagree keep the first, with a flag, in place of an error.",
)
def merge(others: tuple[Path, ...], into: Path, keep_conflicts: bool) -> None:
    """Take the cells of OTHERS into one ledger.

    OTHERS are results directories, ledger.sqlite files or rows.csv files.
    """
    with one_sentence():
        from bench.ledger.merge import merge as merge_ledgers

        merged = merge_ledgers(others, into, keep_conflicts=keep_conflicts)
        for conflict in merged.conflicts:
            click.echo(f"conflict: {conflict}; the first was kept, with a flag")
        click.echo(
            f"{into}: {merged.added} cells added, {merged.known} known, "
            f"{len(merged.conflicts)} in conflict"
        )
