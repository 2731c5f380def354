"""``bench tolerance``: measures how far the numbers of one suite lie apart on two processors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from bench.cli.errors import one_sentence
from bench.util.errors import RequestError
from bench.util.files import disk_errors, write_text


@click.command()
@click.argument("first", type=click.Path(file_okay=False, path_type=Path))
@click.argument("second", type=click.Path(file_okay=False, path_type=Path))
@click.option("--suite", required=True, help="What both ran; it is kept in the table.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Default: the table of the package.",
)
def tolerance(first: Path, second: Path, suite: str, out: Path | None) -> None:
    """Compare the results directories FIRST and SECOND and write the table of differences."""
    from bench.ledger.reader import open_ledger
    from bench.reports.processor_tolerance import TABLE, ProcessorTolerance, measure, round_up

    with one_sentence():
        ledgers = [open_ledger(path) for path in (first, second)]
        rows = [ledger.rows() for ledger in ledgers]
        processors = [
            sorted({str(row.get("processor", "")) for row in of_ledger}) for of_ledger in rows
        ]
        if processors[0] == processors[1]:
            raise RequestError(
                f"both ledgers were made on {', '.join(processors[0])}; run one under other settings"
            )

        def reader(index: int) -> Callable[[str], dict[tuple[str, str, str], float]]:
            def read(cell_id: str) -> dict[tuple[str, str, str], float]:
                table = ledgers[index].score_table(cell_id).to_dict("records")
                return {(s["target"], s["metric"], s["record"]): float(s["value"]) for s in table}

            return read

        found = measure(rows[0], rows[1], reader(0), reader(1))
        words = " and ".join(", ".join(of_ledger) for of_ledger in processors)
        table = ProcessorTolerance(
            f"{suite}, {len(rows[0])} and {len(rows[1])} rows, between {words}", round_up(found)
        )
        out = out or TABLE
        with disk_errors(out):
            write_text(out, json.dumps(table.as_json(), indent=1) + "\n")
        for name, entry in sorted(table.entries.items()):
            click.echo(
                f"{name:<44} absolute {entry.absolute:<9.3g} relative {entry.relative:<9.3g} record {entry.record:.3g}"
            )
