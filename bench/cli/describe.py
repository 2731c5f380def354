"""``bench describe``: explain a plugin, a threat model, a channel or a suite."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.errors import one_sentence
from bench.cli.options import results_option


@click.command()
@click.argument("name")
@click.option("--model", help="Also say what the conv_in of this model means for closed-form.")
@results_option
def describe(name: str, model: str | None, results: Path) -> None:
    """Explain a plugin, a threat model, a channel or a suite.

    NAME is one of them; a plugin is listed with its parameters, a suite with its cells.
    """
    with one_sentence():
        from bench.planning.suite import SHIPPED

        if name.endswith((".yaml", ".yml")) or (SHIPPED / f"{name}.yaml").exists():
            from bench.cli.execution import describe_suite

            click.echo(describe_suite(name))
            return
        from bench.reports.describe import describe_text

        click.echo(describe_text(name, model=model))
