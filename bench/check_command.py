"""``bench check``: reads both sides, compares, reports, and replaces the baseline on request."""

from __future__ import annotations

from pathlib import Path

import click

from bench.check import check
from bench.check_baseline import points, read_baseline, write_baseline
from bench.check_report import add_github_summary, lines, summary, write_junit
from bench.check_verdict import Tolerances
from bench.comparable import ledger_scores
from bench.errors import CheckFailedError, RequestError
from bench.leaderboard_table import open_ledger


def run_check(
    results: Path,
    *,
    baseline: Path | None,
    update: bool,
    reason: str | None,
    metric: str,
    tolerance: float,
    utility_tolerance: float,
    allow_new: bool,
    junit: Path | None,
    github_summary: bool,
) -> None:
    """Compare, print one line a finding, and write what is asked for.

    Raises:
        CheckFailedError: something got worse, and it is not accepted by ``update``.
        RequestError: ``update`` without a reason, a reason without ``update``, no ledger, or no baseline.
    """
    reason = (reason or "").strip()
    if update and not reason:
        raise RequestError("--update needs --reason TEXT; it is kept beside the baseline")
    if reason and not update:
        raise RequestError("--reason goes with --update")
    path = baseline or results / "baseline.csv"
    ledger = open_ledger(results)
    before = {} if update and not path.exists() else read_baseline(path)
    measures = {} if update else {key: point.measure for key, point in before.items()}
    current = points(ledger.rows(), ledger_scores(ledger), measure=metric, measures=measures)
    if not current:
        raise RequestError(f"{results}: the ledger has no rows; fill it with bench run")
    same = {key: point for key, point in before.items() if key not in current or current[key].measure == point.measure}
    verdict = check(
        same, current, tolerances=Tolerances(attack=tolerance, utility=utility_tolerance), allow_new=allow_new
    )
    for line in lines(verdict) if before else ():
        click.echo(line)
    if junit is not None:
        write_junit(junit, verdict)
    if github_summary:
        add_github_summary(verdict)
    if update:
        accepted = len(verdict.failures) if before else 0
        write_baseline(path, current, reason=" ".join(reason.split()), accepted=accepted)
        click.echo(f"{path}: {len(current)} rows, {accepted} findings accepted: {reason}")
    elif verdict.failures:
        raise CheckFailedError(summary(verdict))
    else:
        click.echo(summary(verdict))
