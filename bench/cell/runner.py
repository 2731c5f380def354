"""Runs one cell from end to end: capture, view, attack, scores, row."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.backbones.select import load_backbones
from bench.cell.attempt import Attempt, choose_targets, run_attack
from bench.cell.capture_store import CaptureStore
from bench.cell.job import Job
from bench.cell.judging import Measured, score_attempt
from bench.cell.knowledge import judge_of
from bench.cell.result import CellResult
from bench.cell.training import train_capture
from bench.interfaces.attack import Attack
from bench.interfaces.checked_defense import checked
from bench.interfaces.registry import Registry
from bench.interfaces.victim import UtilityPlan
from bench.ledger.ledger import Ledger
from bench.ledger.score_files import RecordScore
from bench.scoring.leakage import WireModel, stored_leakage
from bench.scoring.picture import Panel, save_picture
from bench.scoring.rows import CellOutcome, Value, make_rows
from bench.spec.cell import CellSpec
from bench.types.targets import TARGETS
from bench.util.code_identity import code_hash
from bench.util.errors import RequestError
from bench.util.failure import forget_trace, keep_trace
from bench.util.files import DiskFullError, disk_errors, kept_numbers, read_json, write_text
from bench.util.global_random import FLAG, GlobalRandom
from bench.util.locks import locked
from bench.util.progress import Progress
from bench.wire.capture import Capture


class Runner:
    """Runs jobs under one results directory."""

    def __init__(self, results: Path, progress: Progress) -> None:
        self.results = results
        self._progress = progress
        self._store = CaptureStore(results)

    def run(self, job: Job, *, fresh: bool = False) -> CellResult:
        """Run one cell and store its rows; raises as ``compute``."""
        ledger = Ledger(self.results, self._progress)
        result = self.compute(job, fresh=fresh)
        store(ledger, job.cell, result)
        return result

    def compute(self, job: Job, *, fresh: bool = False) -> CellResult:
        """Run one cell; the ledger is not touched.

        An attack that does not apply or raises still gives rows, with the status and the reason.
        Wrong requests, unusable data and a full disk are raised before or instead of that.
        """
        if job.obstacle:
            return without_scores(
                job.cell, "not_applicable", job.obstacle, split_hash=job.splits.manifest_hash()
            )
        start = time.perf_counter()
        capture, reused = self._store.get(
            job.cell.capture,
            lambda out: train_capture(job, out, self._progress),
            fresh=fresh,
            progress=self._progress,
        )
        utility, flags = self._utility(job, capture, fresh)
        targets = choose_targets(capture.transcript, job)
        attempt = run_attack(job, capture, targets, self._progress)
        with GlobalRandom(job.cell.capture.seed, "judge", device=job.cell.capture.device).active():
            judge = judge_of(job)
        measured = Measured(utility, self._leakage(job, capture, judge.known, fresh), flags)
        try:
            outcome, panels = score_attempt(
                job, capture, targets, attempt, judge, measured, self._progress
            )
            rows = _rows(
                job.cell, self._logged(job.cell, outcome, attempt), job.splits.manifest_hash()
            )
        except DiskFullError:
            raise
        except Exception as error:  # the claim cannot be scored: what was measured already is kept
            attempt = attempt.failed(error)
            outcome, panels = score_attempt(
                job, capture, targets, attempt, judge, measured, self._progress
            )
            rows = _rows(
                job.cell, self._logged(job.cell, outcome, attempt), job.splits.manifest_hash()
            )
        records = [name.partition(":")[2] for name in capture.secrets.truth(targets)[0].ids]
        return CellResult(
            rows=rows,
            scores=tuple(
                RecordScore(target, score.metric, record, float(value))
                for target, scores in outcome.scores.items()
                for score in scores
                for record, value in zip(records, score.values, strict=True)
            ),
            utility=utility,
            reused=reused,
            picture=self._picture(job, panels),
            seconds=time.perf_counter() - start,
        )

    def _logged(self, cell: CellSpec, outcome: CellOutcome, attempt: Attempt) -> CellOutcome:
        """Keep the traceback of a failed attempt; the outcome's reason then says where it is."""
        if attempt.failure is None:
            forget_trace(self.results, cell.cell_id)
            return outcome
        return replace(outcome, reason=keep_trace(self.results, cell.cell_id, attempt.failure))

    def _utility(
        self, job: Job, capture: Capture, fresh: bool
    ) -> tuple[Mapping[str, float], tuple[str, ...]]:
        """Quality of the trained model, and reasons to doubt it; kept, since every attack on a capture shares it."""
        cell = job.cell
        key = f"{cell.capture.content_hash()[:16]}-{cell.utility.content_hash()[:8]}"
        file = self.results / "utility" / f"{key}.json"
        with locked(self.results / "locks" / f"utility-{key}"):
            return self._stored_utility(job, capture, file, fresh)

    def _stored_utility(
        self, job: Job, capture: Capture, file: Path, fresh: bool
    ) -> tuple[Mapping[str, float], tuple[str, ...]]:
        cell = job.cell
        expected = {"backbones": list(cell.backbones), "code": code_hash(load_backbones)}

        def pick(stored: dict[str, Any]) -> Any:
            same = all(stored[name] == value for name, value in expected.items())
            return stored["utility"] if same else None

        kept = None if fresh else kept_numbers(file, pick, self._progress.note)
        if kept is not None:
            return kept, tuple(map(str, read_json(file).get("flags", ())))
        plan = UtilityPlan(
            steps=cell.utility.steps,
            guidance=cell.utility.guidance,
            seed=cell.utility.seed,
            device=cell.capture.device,
            condition=cell.capture.data.condition,
            backbones=job.backbones,
            progress=self._progress,
        )
        stream = GlobalRandom(cell.capture.seed, "utility", device=cell.capture.device)
        with stream.active():
            utility = job.new_victim().utility(
                capture,
                job.splits.evaluation.copy(),
                checked(job.new_defense()),
                plan,
                protocol=cell.capture.protocol,
            )
        flags = (FLAG,) if stream.drawn else ()
        with disk_errors(file):
            write_text(
                file, json.dumps({**expected, "utility": dict(utility), "flags": flags}, indent=1)
            )
        return utility, flags

    def _leakage(
        self, job: Job, capture: Capture, known: WireModel, fresh: bool
    ) -> Mapping[str, float]:
        file = self.results / "leakage" / f"{job.cell.capture.content_hash()[:16]}.json"
        return stored_leakage(file, capture, known, fresh=fresh, note=self._progress.note)

    def _picture(self, job: Job, panels: list[Panel]) -> Path | None:
        if not panels:
            return None
        path = self.results / "pictures" / f"{job.cell.cell_id}.png"
        with disk_errors(path):
            title = f"{job.cell.attack.attack.label} against {'+'.join(d.label for d in job.cell.capture.defense)}"
            save_picture(path, panels, title)
        return path


def store(ledger: Ledger, cell: CellSpec, result: CellResult) -> None:
    """Write a result into the ledger."""
    ledger.write(
        cell.cell_id,
        cell.capture.content_hash()[:16],
        cell.canonical(),
        result.rows,
        result.scores,
        seconds=result.seconds,
        trained=not result.reused,
    )


def without_scores(
    cell: CellSpec,
    status: str,
    reason: str,
    *,
    split_hash: str,
    seconds: float = 0.0,
    refused: bool = False,
) -> CellResult:
    """What is kept of a cell that was not attacked, or not to the end."""
    rows = _rows(cell, CellOutcome(status=status, reason=reason), split_hash)
    return CellResult(rows=rows, reused=True, seconds=seconds, refused=refused)


def _rows(cell: CellSpec, outcome: CellOutcome, split_hash: str) -> list[dict[str, Value]]:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    spoken_of = speaks_of(cell)
    claimed = tuple(target for target in outcome.scores if target not in spoken_of)
    return make_rows(
        cell, outcome, split_hash=split_hash, targets=(*spoken_of, *claimed), created=created
    )


def speaks_of(cell: CellSpec) -> tuple[str, ...]:
    """The targets that a cell has rows for, whatever comes of it."""
    attacks: Registry[Attack] = Registry("attacks", Attack)  # type: ignore[type-abstract]
    try:
        return attacks.load(cell.attack.attack.name).speaks_of
    except RequestError:  # its package is not here any more
        return TARGETS
