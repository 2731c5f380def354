"""``bench leaderboard``: rank the defences by their worst attack."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.errors import one_sentence
from bench.cli.options import results_option


@click.command()
@click.option(
    "--metric",
    default="ssim",
    show_default=True,
    help="This metric ranks the defences, where rows have it.",
)
@click.option(
    "--against",
    default="none",
    show_default=True,
    help="Other defences are compared with this one.",
)
@results_option
def leaderboard(metric: str, against: str, results: Path) -> None:
    """Rank the defences by their worst attack.

    The table is written to leaderboard.csv and leaderboard.md in --results.
    """
    with one_sentence():
        from bench.reports.leaderboard_files import write_leaderboard

        printed: list[str] = []
        entries = write_leaderboard(results, measure=metric, reference=against, show=printed.append)
        partial = sum(entry.rank is None for entry in entries)
        counts = f"{len(entries)} rows, {partial} of them partial and not ranked"
        show_report(results / "leaderboard.md", printed, counts)


def show_report(report: Path, printed: list[str], counts: str) -> None:
    """Print where a report is, after what could not be written there.

    Args:
        printed: the report's text where its directory is read-only, else empty.
        counts: what is in the report, in words.
    """
    place = f"not written, since {report.parent} is read-only" if printed else str(report)
    click.echo("\n".join([*printed, f"{place}: {counts}"]))
