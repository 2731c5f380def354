"""Choose the engine that runs the cells of a plan, and its size."""

from __future__ import annotations

import os

from bench.planning.planner import Planner
from bench.planning.suite_plan import SuitePlan
from bench.running.engines.base import Setup, SuiteEngine
from bench.settings.guest_identity import guest_versions
from bench.util.errors import RequestError
from bench.util.progress import Progress


def make_engine(
    name: str,
    setup: Setup,
    asked_jobs: int | None,
    jobs: int,
    address: str | None,
    *,
    planner: Planner,
    progress: Progress,
) -> SuiteEngine:
    """Return the engine ``name``: ``serial``, ``processes`` or ``ray``.

    Args:
        asked_jobs: how many workers the user asked for.
        jobs: how many workers there are to be.
        address: of a Ray cluster.
        planner: for the serial engine, which runs in this process.

    Raises:
        RequestError: options that do not go together, or Ray is not installed.
    """
    if address is not None and name != "ray":
        raise RequestError(
            f"--address is of a Ray cluster; the engine is {name!r}, use --engine ray"
        )
    if name == "serial":
        from bench.running.engines.serial import SerialEngine

        if asked_jobs not in (None, 1):
            raise RequestError("the serial engine has one job; use --engine processes for more")
        return SerialEngine(setup, planner, progress)
    if name == "processes":
        from bench.running.engines.processes import ProcessEngine

        return ProcessEngine(setup, jobs, progress)
    from bench.running.engines.ray_cluster import RayEngine

    return RayEngine(setup, jobs, address)


def guest_packages(plan: SuitePlan) -> str:
    """Return the other packages whose plugins take part, for a sentence; empty without any."""
    versions = {
        package: version
        for job in plan.jobs
        for package, version in guest_versions(job.cell).items()
    }
    return ", ".join(f"{package} {version}" for package, version in sorted(versions.items()))


def default_jobs(plan: SuitePlan, threads: int) -> int:
    """Return a worker for each core, by ``threads`` of each; one worker where a GPU computes."""
    on_cpu = all(job.cell.capture.device == "cpu" for job in plan.jobs)
    return max(1, cores() // threads) if on_cpu else 1


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
