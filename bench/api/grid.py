"""Run a grid of cells or a suite, and hold what came of it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import torch

from bench.api.progress import progress_of
from bench.api.rows import LEDGER, PathText, load_results, load_scores
from bench.api.settings import checked_settings
from bench.api.tables import ReportTable, frontier, leaderboard, summary
from bench.cell.job import Job
from bench.cell.result import CellResult
from bench.ledger.ledger import Ledger
from bench.planning.planner import Planner
from bench.planning.suite import find_suite, suite_of_options
from bench.planning.suite_plan import SuitePlan, plan_suite
from bench.running.engines.base import Limits, Setup, SuiteEngine
from bench.running.engines.processes import ProcessEngine
from bench.running.engines.serial import SerialEngine
from bench.running.suite import run_suite
from bench.util.errors import RequestError
from bench.util.progress import Progress

ATTACKS = ("inversion",)
"""What runs where no attack is named, as on the command line."""

Values = str | Sequence[str]


@dataclass(frozen=True)
class Results:
    """The cells of one run, and the results directory that holds them.

    Attributes:
        path: the results directory.
        cells: ids of the cells that were asked for, in their order.
    """

    path: Path
    cells: tuple[str, ...]

    @property
    def rows(self) -> pandas.DataFrame:
        """The rows of these cells, as :func:`bench.load_results` gives them."""
        frame = load_results(self.path)
        return frame[frame["cell_id"].isin(self.cells)].reset_index(drop=True)

    def scores(self, cell_id: str) -> pandas.DataFrame:
        """Return the scores of one cell, record by record; see :func:`bench.load_scores`."""
        return load_scores(self.path, cell_id)

    def leaderboard(self, **options: Any) -> ReportTable:
        """Return the leaderboard of these cells; options are those of :func:`bench.leaderboard`."""
        return leaderboard(self.rows, **options)

    def frontier(self, **options: Any) -> ReportTable:
        """Return the frontier of these cells; options are those of :func:`bench.frontier`."""
        return frontier(self.rows, **options)

    def summary(self, metric: str | Sequence[str] = "ssim", **options: Any) -> ReportTable:
        """Return means over seeds; arguments are those of :func:`bench.summary`."""
        return summary(self.rows, metric, **options)

    def __len__(self) -> int:
        return len(self.cells)

    def __repr__(self) -> str:
        return f"Results({len(self.cells)} cells in {self.path / LEDGER})"


def run(
    suite: str | None = None,
    *,
    attack: Values = (),
    defense: Values = (),
    victim: Values = (),
    protocol: Values = (),
    threat: Values = (),
    withhold: Values = (),
    seed: int | Sequence[int] = (),
    results: PathText = "results",
    jobs: int = 1,
    fresh: bool = False,
    retry_failed: bool = False,
    weights: PathText | None = None,
    progress: bool = False,
    **settings: Any,
) -> Results:
    """Train victims under defences, attack what they sent, score the claims, and store the rows.

    Every combination of the values is a cell. A cell that is in the ledger already does not run
    again. A cell that fails does not stop the others: its row has the status and the reason, and a
    warning counts such cells.

    Args:
        suite: the name of a suite or the path of its file, instead of the values below.
        attack: one or several, as ``name`` or ``name:key=value,…``; ``inversion`` by default.
        defense: one or several; ``+`` stacks defences; ``none`` by default.
        victim: one or several; ``split-controlnet`` by default.
        protocol: one or several; the victim's first by default.
        threat: one or several threat models; ``server`` by default.
        withhold: channels that the attacker does not see although they are sent, joined by commas;
            a list is several such views.
        seed: one or several; 0 by default.
        results: the results directory.
        jobs: worker processes side by side; 1 runs the cells in this process.
        fresh: train and measure even what is in the ledger.
        retry_failed: run cells again that failed or ran out of time.
        weights: directory of backbone weights; the usual caches by default.
        progress: show the stages of the work.
        settings: the other options of ``bench run``, such as ``epochs``, ``records``, ``data`` or
            ``model``.

    Returns:
        The cells of the run; ``.rows`` is a DataFrame.

    Raises:
        RequestError: a name, a parameter or a setting is unknown or impossible.
        DataError: data, model or ledger cannot be used.

    Example:
        >>> results = bench.run(  # doctest: +SKIP
        ...     attack=["closed-form", "inversion"], defense=["none", "timestep"], seed=[0, 1, 2]
        ... )
        >>> results.summary("ssim")  # doctest: +SKIP
    """
    axes = {
        "attacks": _several(attack),
        "defenses": _several(defense),
        "victims": _several(victim),
        "protocols": _several(protocol),
        "threats": _several(threat),
        "withhold": _several(withhold),
        "seeds": _several(seed),
    }
    chosen = checked_settings(settings)
    folder = None if weights is None else Path(weights)
    shown = progress_of(progress)
    planner = Planner(shown)
    if suite is None:
        axes["attacks"] = axes["attacks"] or ATTACKS
        grid = suite_of_options(axes, chosen.given())
        plan = plan_suite(grid, planner, weights_dir=folder)
    elif given := [name for name, values in axes.items() if values]:
        raise RequestError(f"{given[0]} are fixed by the suite: give a suite or values, not both")
    else:
        plan = plan_suite(find_suite(suite), planner, overrides=chosen, weights_dir=folder)
    path = Path(results)
    engine = _engine(plan, planner, path, folder, jobs, shown)
    done = run_suite(
        plan,
        engine,
        path,
        Ledger(path, shown),
        fresh=fresh,
        retry_failed=retry_failed,
        show=_ignore,
    )
    if done.unfinished:
        warnings.warn(
            f"{done.unfinished} of {len(plan.jobs)} cells failed; column 'reason' of their rows "
            "says why, and retry_failed=True runs them again",
            stacklevel=2,
        )
    return Results(path, tuple(job.cell.cell_id for job in plan.jobs))


def _several(values: Any) -> tuple[Any, ...]:
    """Return one value or several as a tuple."""
    return (values,) if isinstance(values, str | int) else tuple(values)


def _ignore(job: Job, result: CellResult, number: int, total: int) -> None:
    """Show nothing of a finished cell."""


def _engine(
    plan: SuitePlan,
    planner: Planner,
    results: Path,
    weights: Path | None,
    jobs: int,
    progress: Progress,
) -> SuiteEngine:
    """Return the engine for a number of jobs.

    Raises:
        RequestError: the number is not positive.
    """
    if jobs < 1:
        raise RequestError(f"jobs must be at least 1, got {jobs}")
    content = plan.suite.content
    limits = Limits(content.time_limit, content.memory_limit)
    alone = jobs == 1 and limits.memory_mib is None
    setup = Setup(results, weights, torch.get_num_threads() if alone else 1, limits)
    if alone:
        return SerialEngine(setup, planner, progress)
    return ProcessEngine(setup, jobs, progress)
