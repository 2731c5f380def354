"""Run what a suite lacks, compare it with a baseline, and replace the baseline on request."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from bench.ledger.reader import open_ledger
from bench.planning.suite import SHIPPED, Suite, find_suite
from bench.reports.check.baseline import Baseline, read_baseline, write_baseline
from bench.reports.check.compare import current_rows, judge
from bench.reports.check.output import (
    add_github_summary,
    as_json,
    github_lines,
    lines,
    summary,
    write_junit,
)
from bench.reports.check.plan import NOT_RUN, SuiteState, suite_state
from bench.reports.check.verdict import Tolerances, Verdict
from bench.reports.comparability import Row, ScoreReader, ledger_scores
from bench.util.errors import (
    CannotSayError,
    CellFailedError,
    CheckFailedError,
    DataError,
    RequestError,
)
from bench.util.provenance import versions


@dataclass(frozen=True)
class CheckOptions:
    """The options of ``bench check``.

    Attributes:
        results: the results directory.
        suite: name or path of a suite; None is the suite of the baseline, and nothing is run.
        baseline: file of the baseline; None is ``baseline.csv`` in the results directory.
        update: make the present state the baseline.
        reason: why the baseline changes.
        metric, tolerance, utility_tolerance, accept_failed: of a new baseline; None is the default.
        allow_new: accept rows that the baseline lacks.
        junit: file to write the verdict to, as JUnit XML.
        as_json: print JSON in place of lines.
        github_summary: add a table to the step summary of GitHub.
        jobs: how many workers run side by side.
        threads: how many threads each worker computes with.
        weights: where the user's backbone weights are.
    """

    results: Path
    suite: str | None = None
    baseline: Path | None = None
    update: bool = False
    reason: str | None = None
    metric: str | None = None
    tolerance: float | None = None
    utility_tolerance: float | None = None
    accept_failed: bool = False
    allow_new: bool = False
    junit: Path | None = None
    as_json: bool = False
    github_summary: bool = False
    jobs: int | None = None
    threads: int | None = None
    weights: Path | None = None

    @property
    def path(self) -> Path:
        """The file of the baseline."""
        return self.baseline or self.results / "baseline.csv"

    def validate(self) -> None:
        """Refuse options that do not go together.

        Raises:
            RequestError: names the option.
        """
        if self.update and not (self.reason or "").strip():
            raise RequestError("--update needs --reason TEXT; it is kept beside the baseline")
        if self.update and self.suite is None:
            raise RequestError(
                "--update needs a suite, since a baseline is of one: bench check SUITE --update"
            )
        if self.update:
            return
        given = {
            "--reason": self.reason is not None,
            "--metric": self.metric is not None,
            "--tolerance": self.tolerance is not None,
            "--utility-tolerance": self.utility_tolerance is not None,
            "--accept-failed": self.accept_failed,
        }
        if names := [name for name, there in given.items() if there]:
            raise RequestError(f"{names[0]} goes with --update: a check takes it from the baseline")


def run_check(options: CheckOptions) -> None:
    """Compare a suite with a baseline, print one line a finding, and write what is asked for.

    Raises:
        CheckFailedError: something got worse, and it is not accepted by ``update``.
        CannotSayError: something, or everything, could not be compared.
        RequestError: impossible options, no suite, or no baseline.
        DataError: a baseline, a suite's data or a ledger cannot be used.
    """
    options.validate()
    path = options.path
    if options.update:
        _update(options)
        return
    baseline = read_baseline(path)
    suite = find_suite(
        options.suite if options.suite is not None else _suite_path(baseline.suite, path)
    )
    present, read = _present(options, suite, run=options.suite is not None)
    verdict = judge(
        baseline,
        present,
        read,
        suite=suite.name,
        name=str(path),
        allow_new=options.allow_new,
        versions=versions(),
    )
    _show(verdict, options)
    if verdict.exit_code:
        error = (
            CheckFailedError if verdict.exit_code == CheckFailedError.exit_code else CannotSayError
        )
        raise error(summary(verdict))
    click.echo(summary(verdict), err=options.as_json)


def _update(options: CheckOptions) -> None:
    """Make the suite's present state the baseline."""
    path, suite = options.path, find_suite(options.suite or "")
    usual = Tolerances()
    limits = Tolerances(
        attack=usual.attack if options.tolerance is None else options.tolerance,
        utility=usual.utility if options.utility_tolerance is None else options.utility_tolerance,
    )
    before = _before(path)
    present, read = _present(options, suite, run=True)
    absent = [finding for finding in present.findings if finding.fails]
    if absent:
        raise RequestError(f"no baseline of a suite that is not complete: {absent[0].sentence}")
    current = current_rows(present, read, measure=options.metric or "ssim")
    baseline = Baseline(current, _suite_name(suite, path), limits, options.accept_failed)
    accepted = 0
    if before is not None:
        verdict = judge(
            before, present, read, suite=suite.name, name=str(path), versions=versions()
        )
        accepted = len(verdict.failures)
        _show(verdict, options)
    reason = " ".join((options.reason or "").split())
    write_baseline(path, baseline, reason=reason, accepted=accepted)
    click.echo(
        f"{path}: {baseline.cells} cells of suite {suite.name} in {len(current)} rows, "
        f"{accepted} findings accepted: {reason}",
        err=options.as_json,
    )


def _before(path: Path) -> Baseline | None:
    """Return the baseline that is to be replaced; None where none can be read."""
    if not path.exists():
        return None
    try:
        return read_baseline(path)
    except DataError as error:
        click.echo(f"the baseline before cannot be compared with: {error}", err=True)
        return None


def _show(verdict: Verdict, options: CheckOptions) -> None:
    """Print the findings and write the files that were asked for."""
    if options.as_json:
        click.echo(as_json(verdict))
    else:
        for line in lines(verdict):
            click.echo(line)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in github_lines(verdict):
            click.echo(line, err=options.as_json)
    if options.junit is not None:
        write_junit(options.junit, verdict)
    if options.github_summary:
        add_github_summary(verdict)


def _present(options: CheckOptions, suite: Suite, *, run: bool) -> tuple[SuiteState, ScoreReader]:
    """Return the rows of the suite's present state, and a reader of their scores.

    Args:
        run: first run the cells that the ledger lacks; else the ledger is judged as it is.
    """
    from bench.cell.outcome import result_without_scores
    from bench.cli.execution import Running, run_plan
    from bench.planning.planner import Planner
    from bench.planning.suite_plan import plan_suite
    from bench.util.progress import Bars

    progress = Bars()
    planner = Planner(progress)
    plan = plan_suite(suite, planner, weights_dir=options.weights)
    planned: list[Row] = [
        row
        for job in plan.jobs
        for row in result_without_scores(
            job.cell, NOT_RUN, "", split_hash=job.splits.manifest_hash()
        ).rows
    ]
    if run:
        running = Running(options.results, jobs=options.jobs, threads=options.threads)
        # Lines about cells must not mix with the JSON; failed cells are judged with the rest.
        lines_of_cells = (
            contextlib.redirect_stdout(sys.stderr) if options.as_json else contextlib.nullcontext()
        )
        with lines_of_cells, contextlib.suppress(CellFailedError):
            run_plan(plan, planner, options.weights, running, progress)
    elif not (options.results / "ledger.sqlite").exists():
        raise RequestError(
            f"{options.results}: no ledger.sqlite there; bench check SUITE runs what is missing"
        )
    ledger = open_ledger(options.results)
    return suite_state(planned, ledger.rows()), ledger_scores(ledger)


def _suite_name(suite: Suite, baseline: Path) -> str:
    """Return a shipped suite's name, or a file's path from the baseline's folder."""
    file = None if suite.document is None else suite.document.path
    if file is None or file.resolve().parent == SHIPPED.resolve():
        return suite.name
    return Path(os.path.relpath(file.resolve(), baseline.resolve().parent)).as_posix()


def _suite_path(name: str, baseline: Path) -> str:
    """Return the name or path of the suite that a baseline names, for ``find_suite``."""
    file = baseline.resolve().parent / name
    return str(file) if name.endswith((".yaml", ".yml")) else name
