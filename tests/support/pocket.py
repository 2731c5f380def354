"""Runs small cells on the embedded model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.cell.result import CellResult
from bench.cell.runner import Runner
from bench.interfaces import Silent
from bench.planning.planner import Planner
from bench.planning.request import Request

SMALL = Request().replace(
    calibration=8,
    evaluation=8,
    utility_steps=1,
    utility_guidance=1.0,
    backbones="embedded",
)


def pocket_runner(results: Path, **settings: object) -> Callable[..., CellResult]:
    """Return a function that runs a cell on the embedded model, with some of its request replaced.

    Args:
        results: a results directory for all its cells.
        settings: what its cells have in common besides ``SMALL``.
    """
    request, planner = SMALL.replace(**settings), Planner(Silent())
    runner = Runner(results, Silent())
    return lambda **changes: runner.run(planner.plan(request.replace(**changes)))
