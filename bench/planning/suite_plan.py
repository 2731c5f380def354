"""Turn a suite into cells: plan every request before the first one runs, and merge equal cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cell.job import Job
from bench.ledger.reader import CellEntry
from bench.planning.estimate import estimate_seconds
from bench.planning.planner import Planner
from bench.planning.request import Request
from bench.planning.settings import Settings
from bench.planning.suite import AXES, Block, Point, Suite
from bench.util.errors import BenchError, DataError, RequestError

UNFINISHED = ("failed", "timeout")
_NAMED = ("victim", "defense", "attack", "threat")
"""Axes whose values can be checked by themselves."""


@dataclass(frozen=True)
class SuitePlan:
    """The cells of a suite.

    Attributes:
        suite: the suite that was planned.
        jobs: each cell once; those that share a capture follow each other.
        blocks: how many cells each block asked for, before equal ones were merged.
    """

    suite: Suite
    jobs: tuple[Job, ...]
    blocks: Mapping[str, int]

    @property
    def merged(self) -> int:
        """How many requests were for cells that other requests ask for too."""
        return sum(self.blocks.values()) - len(self.jobs)

    def captures(self, jobs: Sequence[Job] | None = None) -> int:
        """Return how many victims have to be trained for ``jobs``, or for all cells."""
        chosen = self.jobs if jobs is None else jobs
        return len({job.cell.capture.content_hash() for job in chosen if not job.obstacle})

    def remaining(
        self, known: Mapping[str, CellEntry], *, fresh: bool, retry_failed: bool
    ) -> list[Job]:
        """Return the cells that are not in the ledger, or are to be run again.

        Args:
            known: cells of the ledger, by id.
            fresh: run every cell again.
            retry_failed: run cells again that failed or ran out of time.
        """
        return [
            job
            for job in self.jobs
            if fresh
            or (entry := known.get(job.cell.cell_id)) is None
            or (retry_failed and entry.status in UNFINISHED)
        ]


def plan_suite(
    suite: Suite,
    planner: Planner,
    *,
    overrides: Settings | None = None,
    weights_dir: Path | None = None,
) -> SuitePlan:
    """Plan every cell of a suite.

    Args:
        overrides: settings from the command line, which replace those of the suite. A model is
            for the victims that take one.
        weights_dir: where the user's backbone weights are.

    Raises:
        RequestError: a name, a parameter or a setting is wrong, or a value of an axis fits no cell
            at all.
        DataError: the data or the model cannot be used.
    """
    jobs: dict[str, Job] = {}
    counts: dict[str, int] = {}
    for name, block in suite.content.blocks.items():
        _check_names(suite, name, block, planner)
        own = suite.content.settings.under(block.settings)
        planned: list[tuple[Point, Job]] = []
        for point in block.points():
            try:
                usable = _without_unusable_model(overrides or Settings(), point.victim, planner)
                request = request_of(point, own.under(usable), weights_dir)
                planned.append((point, planner.draft(request)))
            except (RequestError, DataError) as error:
                raise type(error)(f"{suite.where('blocks', name)}{error}") from error
        _check_every_value_fits(suite, name, planned)
        counts[name] = len(planned)
        for _, job in planned:
            jobs.setdefault(job.cell.cell_id, job)
    return SuitePlan(suite, _by_capture(list(jobs.values())), counts)


def _without_unusable_model(overrides: Settings, victim: str, planner: Planner) -> Settings:
    """Return the overrides, without the model where ``victim`` takes none."""
    takes_model = planner.plugins.takes_model(victim)
    return overrides if takes_model else overrides.model_copy(update={"model": None})


def request_of(point: Point, settings: Settings, weights_dir: Path | None) -> Request:
    """Return what a block asks for at one point."""
    return Request(
        victim=point.victim,
        protocol=point.protocol,
        defense=point.defense,
        attack=point.attack,
        threat=point.threat,
        withhold=point.withhold,
        seed=point.seed,
        settings=settings,
        weights_dir=weights_dir,
    )


def describe_plan(
    plan: SuitePlan, known: Mapping[str, CellEntry], *, fresh: bool, retry_failed: bool, jobs: int
) -> list[str]:
    """Return lines about what a run would do.

    Args:
        known: cells of the ledger, by id.
        jobs: how many workers there are.
    """
    todo = plan.remaining(known, fresh=fresh, retry_failed=retry_failed)
    impossible = [job for job in plan.jobs if job.obstacle]
    states = [known[job.cell.cell_id].status for job in plan.jobs if job.cell.cell_id in known]
    lines = [f"suite {plan.suite.name}: {plan.suite.content.description}".rstrip(": ")]
    for name, block in plan.suite.content.blocks.items():
        axes = (
            len(block.victims),
            len(block.protocols or (1,)),
            len(block.defenses),
            len(block.attacks),
        )
        views = len(block.threats) * len(block.withhold)
        lines.append(
            f"  block {name}: {plan.blocks[name]} cells; {axes[0]} victims x {axes[1]} protocols "
            f"x {axes[2]} defences x {axes[3]} attacks x {views} views x {len(block.seeds)} seeds"
        )
    lines.append(
        f"  {len(plan.jobs)} cells on {plan.captures()} captures"
        + (f"; {plan.merged} asked for more than once, merged" if plan.merged else "")
        + (f"; {len(impossible)} not applicable" if impossible else "")
    )
    for reason in dict.fromkeys(job.obstacle for job in impossible):
        count = sum(job.obstacle == reason for job in impossible)
        lines.append(f"    not applicable: {reason} ({count} cells)")
    if states:
        counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        lines.append(f"  in the ledger already: {counted}")
    seconds = estimate_seconds(todo, known) / max(1, jobs)
    workers = f"{jobs} job{'s' if jobs > 1 else ''}"
    lines.append(f"  to run: {len(todo)} cells, {_duration(seconds)} with {workers} (estimate)")
    return lines


def _duration(seconds: float) -> str:
    return (
        f"about {seconds / 60:.0f} minutes"
        if seconds > 90
        else f"about {max(1.0, seconds):.0f} seconds"
    )


def _check_names(suite: Suite, name: str, block: Block, planner: Planner) -> None:
    """Check every value by itself, so that the error names the line of the wrong one."""
    for axis in _NAMED:
        field = AXES[axis]
        for i, value in enumerate(getattr(block, field)):
            try:
                planner.check(axis, value)
            except BenchError as error:
                raise RequestError(f"{suite.where('blocks', name, field, i)}{error}") from error


def _check_every_value_fits(suite: Suite, name: str, planned: Sequence[tuple[Point, Job]]) -> None:
    """Refuse a value that fits no cell of its block: that is a mistake, not a sparse grid.

    Raises:
        RequestError: with the obstacle, and the place of the value.
    """
    for axis in ("protocol", "withhold", *_NAMED):
        field = AXES[axis]
        values = list(dict.fromkeys(getattr(point, axis) for point, _ in planned))
        for value in values:
            jobs = [job for point, job in planned if getattr(point, axis) == value]
            if all(job.obstacle for job in jobs):
                wanted = getattr(suite.content.blocks[name], field) or ()
                place = (field, wanted.index(value)) if value in wanted else ()
                raise RequestError(f"{suite.where('blocks', name, *place)}{jobs[0].obstacle}")


def _by_capture(jobs: list[Job]) -> tuple[Job, ...]:
    """Return the jobs in order, but those of one capture directly after the first of them."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.cell.capture.content_hash(), []).append(job)
    return tuple(job for group in groups.values() for job in group)
