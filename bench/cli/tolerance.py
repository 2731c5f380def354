"""``bench tolerance``: measure how far two processors differ in the numbers of one suite."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from bench.cli.errors import one_sentence
from bench.cli.options import DIRECTORY, FILE
from bench.util.errors import RequestError
from bench.util.files import disk_errors, write_text


@click.command()
@click.argument("first", type=DIRECTORY)
@click.argument("second", type=DIRECTORY)
@click.option(
    "--suite", required=True, help="Both ledgers ran this suite; the table keeps its name."
)
@click.option(
    "--out",
    type=FILE,
    show_default="the table of the package",
    help="The table of differences is written to this file.",
)
def tolerance(first: Path, second: Path, suite: str, out: Path | None) -> None:
    """Measure how far two processors differ.

    FIRST and SECOND are results directories of one suite, run on different processors; the table of
    their differences is written. bench reproduce and bench check allow numbers of
    another processor to differ as much as the table says.
    """
    from bench.ledger.reader import open_ledger
    from bench.reports.processor_tolerance import TABLE, ProcessorTolerance, measure, round_up

    with one_sentence():
        ledgers = [open_ledger(path) for path in (first, second)]
        rows = [ledger.rows() for ledger in ledgers]
        processors = [
            ", ".join(sorted({str(row.get("processor", "")) for row in ledger_rows}))
            for ledger_rows in rows
        ]
        if processors[0] == processors[1]:
            raise RequestError(
                f"both ledgers were made on {processors[0]}; run one under other settings"
            )

        def reader(index: int) -> Callable[[str], dict[tuple[str, str, str], float]]:
            def read(cell_id: str) -> dict[tuple[str, str, str], float]:
                table = ledgers[index].score_table(cell_id).to_dict("records")
                return {(s["target"], s["metric"], s["record"]): float(s["value"]) for s in table}

            return read

        differences = measure(rows[0], rows[1], reader(0), reader(1))
        source = (
            f"{suite}, {len(rows[0])} and {len(rows[1])} rows, "
            f"between {processors[0]} and {processors[1]}"
        )
        table = ProcessorTolerance(source, round_up(differences))
        out = out or TABLE
        with disk_errors(out):
            write_text(out, json.dumps(table.as_json(), indent=1) + "\n")
        for name, entry in sorted(table.entries.items()):
            click.echo(
                f"{name:<44} absolute {entry.absolute:<9.3g} relative {entry.relative:<9.3g} "
                f"record {entry.record:.3g}"
            )
