"""``bench frontier``: leak of the worst attack against quality of the trained model."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.errors import one_sentence
from bench.cli.leaderboard import show_report
from bench.cli.options import results_option


@click.command()
@click.option(
    "--metric",
    default="ssim",
    show_default=True,
    help="This metric measures the leak, where rows have it.",
)
@click.option(
    "--against",
    default="none",
    show_default=True,
    help="The quality under this defence counts as 1.",
)
@results_option
def frontier(metric: str, against: str, results: Path) -> None:
    """Compare leak and quality of the defences.

    Each defence is a point: the leak of its worst attack, and the quality of the trained model. The
    points are written to frontier.csv and frontier.md in --results, with a plot for each view.
    """
    with one_sentence():
        from bench.reports.frontier_files import write_frontier

        printed: list[str] = []
        points = write_frontier(results, measure=metric, reference=against, show=printed.append)
        reached = sum(point.reaches_goal for point in points)
        counts = f"{len(points)} points, {reached} of them reach the goal"
        show_report(results / "frontier.md", printed, counts)
