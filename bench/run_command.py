"""``bench run``: a grid of cells, one after the other, and their tables on the screen."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import RequestError
from bench.planning import Planner, Request
from bench.progress import Bars
from bench.runner import CellResult, Runner
from bench.spec import SplitSizes, TrainSpec, UtilitySpec
from bench.table import print_result


def run_grid(
    attacks: Sequence[str],
    defenses: Sequence[str],
    victims: Sequence[str],
    seeds: Sequence[int],
    *,
    results: Path,
    fresh: bool,
    options: dict[str, Any],
) -> int:
    """Run every combination; how many cells failed.

    Every request is planned before the first one runs, so that a wrong word costs no training.
    """
    progress = Bars()
    planner = Planner(progress)
    jobs = [
        planner.plan(_request(attack, defense, victim, seed, options))
        for victim, defense, seed, attack in itertools.product(victims, defenses, seeds, attacks)
    ]
    seen: dict[str, int] = {}
    for number, job in enumerate(jobs):
        if job.cell.cell_id in seen:
            raise RequestError(f"cells {seen[job.cell.cell_id] + 1} and {number + 1} of the grid are the same")
        seen[job.cell.cell_id] = number
    runner = Runner(results, progress)
    failed = 0
    done: set[str] = set()
    for number, job in enumerate(jobs):
        if len(jobs) > 1:
            progress.note(f"cell {number + 1} of {len(jobs)}")
        # Cells of one grid share a capture; --fresh trains it once, not once a cell.
        capture = job.cell.capture.content_hash()
        result: CellResult = runner.run(job, fresh=fresh and capture not in done)
        done.add(capture)
        print_result(job, result, results)
        failed += result.status == "failed"
    return failed


def _request(attack: str, defense: str, victim: str, seed: int, options: dict[str, Any]) -> Request:
    withhold = tuple(filter(None, (part.strip() for part in options["withhold"].split(","))))
    return Request(
        victim=victim,
        protocol=options["protocol"],
        model=options["model"],
        defense=defense,
        attack=attack,
        threat=options["threat"],
        withhold=withhold,
        data=options["data"],
        condition=options["condition"],
        image_size=options["image_size"],
        splits=SplitSizes(
            victim=options["records"],
            auxiliary=options["auxiliary"],
            calibration=options["calibration"],
            evaluation=options["evaluation"],
        ),
        training=TrainSpec(
            epochs=options["epochs"],
            batch_size=options["batch_size"],
            learning_rate=options["learning_rate"],
            dtype=options["dtype"],
        ),
        iterations=options["iterations"],
        attack_batch_size=options["attack_batch_size"],
        targets=options["targets"],
        epoch=options["epoch"],
        utility=UtilitySpec(steps=options["utility_steps"]),
        seed=seed,
        device=options["device"],
        backbones=options["backbones"],
        weights_dir=options["weights"],
    )
