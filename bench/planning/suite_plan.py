"""Turns a suite into cells: every request planned before the first one runs, equal cells merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cell.job import Job
from bench.data.split_sizes import SplitSizes
from bench.ledger.reader import CellEntry
from bench.planning.estimate import estimate_seconds
from bench.planning.planner import Planner
from bench.planning.request import Request
from bench.planning.suite import Block, Point, Settings, Suite
from bench.spec.cell import TrainSpec, UtilitySpec
from bench.util.errors import BenchError, DataError, RequestError

UNFINISHED = ("failed", "timeout")
_AXES = {"victim": "victims", "defense": "defenses", "attack": "attacks", "threat": "threats"}


@dataclass(frozen=True)
class SuitePlan:
    """The cells of a suite.

    Attributes:
        jobs: each cell once; those that share a capture stand together.
        blocks: how many cells each block asked for, before equal ones were merged.
    """

    suite: Suite
    jobs: tuple[Job, ...]
    blocks: Mapping[str, int]

    @property
    def merged(self) -> int:
        """How many cells were asked for more than once."""
        return sum(self.blocks.values()) - len(self.jobs)

    def captures(self, jobs: Sequence[Job] | None = None) -> int:
        """How many victims have to be trained for ``jobs``, or for all."""
        chosen = self.jobs if jobs is None else jobs
        return len({job.cell.capture.content_hash() for job in chosen if not job.obstacle})

    def remaining(
        self, known: Mapping[str, CellEntry], *, fresh: bool, retry_failed: bool
    ) -> list[Job]:
        """The cells that are not in the ledger, or are to be run again."""
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
        overrides: settings from the command line, which count before the suite's own. A model is
            for the victims that take one.

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
                settings = own.under(_fitting(overrides or Settings(), point.victim, planner))
                planned.append((point, planner.draft(request_of(point, settings, weights_dir))))
            except (RequestError, DataError) as error:
                raise type(error)(f"{suite.where('blocks', name)}{error}") from error
        _check_every_value_fits(suite, name, planned)
        counts[name] = len(planned)
        for _, job in planned:
            jobs.setdefault(job.cell.cell_id, job)
    return SuitePlan(suite, _by_capture(list(jobs.values())), counts)


def _fitting(overrides: Settings, victim: str, planner: Planner) -> Settings:
    """The overrides that a victim can take: a suite may hold some with a model of their own making."""
    return (
        overrides if planner.takes_model(victim) else overrides.model_copy(update={"model": None})
    )


def request_of(point: Point, settings: Settings, weights_dir: Path | None) -> Request:
    """What a block asks for at one point.

    Raises:
        RequestError: a setting is impossible.
    """
    given = settings.given()

    def chosen(**names: str) -> dict[str, object]:
        return {field: given[name] for field, name in names.items() if name in given}

    direct = (
        "model",
        "data",
        "condition",
        "image_size",
        "iterations",
        "attack_batch_size",
        "targets",
        "epoch",
    )
    return Request(
        victim=point.victim,
        protocol=point.protocol,
        defense=point.defense,
        attack=point.attack,
        threat=point.threat,
        withhold=point.withhold,
        seed=point.seed,
        splits=SplitSizes.model_validate(
            chosen(
                victim="records",
                auxiliary="auxiliary",
                calibration="calibration",
                evaluation="evaluation",
            )
        ),
        training=TrainSpec.model_validate(
            chosen(
                epochs="epochs",
                batch_size="batch_size",
                learning_rate="learning_rate",
                dtype="dtype",
            )
        ),
        utility=UtilitySpec.model_validate(
            chosen(steps="utility_steps", guidance="utility_guidance")
        ),
        weights_dir=weights_dir,
        **chosen(**{name: name for name in (*direct, "device", "backbones")}),  # type: ignore[arg-type]
    )


def describe_plan(
    plan: SuitePlan, known: Mapping[str, CellEntry], *, fresh: bool, retry_failed: bool, jobs: int
) -> list[str]:
    """Lines about what a run would do."""
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
            f"  block {name}: {plan.blocks[name]} cells; {axes[0]} victims x {axes[1]} protocols x {axes[2]} defences "
            f"x {axes[3]} attacks x {views} views x {len(block.seeds)} seeds"
        )
    lines.append(
        f"  {len(plan.jobs)} cells on {plan.captures()} captures"
        + (f"; {plan.merged} asked for more than once, merged" if plan.merged else "")
        + (f"; {len(impossible)} not applicable" if impossible else "")
    )
    for reason in dict.fromkeys(job.obstacle for job in impossible):
        lines.append(
            f"    not applicable: {reason} ({sum(job.obstacle == reason for job in impossible)} cells)"
        )
    if states:
        counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        lines.append(f"  in the ledger already: {counted}")
    seconds = estimate_seconds(todo, known) / max(1, jobs)
    lines.append(
        f"  to run: {len(todo)} cells, {_span(seconds)} with {jobs} job{'s' if jobs > 1 else ''} (estimate)"
    )
    return lines


def _span(seconds: float) -> str:
    return (
        f"about {seconds / 60:.0f} minutes"
        if seconds > 90
        else f"about {max(1.0, seconds):.0f} seconds"
    )


def _check_names(suite: Suite, name: str, block: Block, planner: Planner) -> None:
    """Look up every word by itself, so that a wrong one is told with its own line."""
    for axis, field in _AXES.items():
        for i, value in enumerate(getattr(block, field)):
            try:
                planner.check(axis, value)
            except BenchError as error:
                raise RequestError(f"{suite.where('blocks', name, field, i)}{error}") from error


def _check_every_value_fits(suite: Suite, name: str, planned: Sequence[tuple[Point, Job]]) -> None:
    """A value that fits no cell of its block is a mistake, not a sparse grid.

    Raises:
        RequestError: with the obstacle, and the place of the value.
    """
    for axis, field in {"protocol": "protocols", "withhold": "withhold", **_AXES}.items():
        values = list(dict.fromkeys(getattr(point, axis) for point, _ in planned))
        for value in values:
            jobs = [job for point, job in planned if getattr(point, axis) == value]
            if all(job.obstacle for job in jobs):
                wanted = getattr(suite.content.blocks[name], field) or ()
                place = (field, wanted.index(value)) if value in wanted else ()
                raise RequestError(f"{suite.where('blocks', name, *place)}{jobs[0].obstacle}")


def _by_capture(jobs: list[Job]) -> tuple[Job, ...]:
    """In order, but with those of one capture behind the first of them."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.cell.capture.content_hash(), []).append(job)
    return tuple(job for group in groups.values() for job in group)
