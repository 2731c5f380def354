"""Run one cell from end to end: each line of ``Runner.compute`` is a stage and a file here."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from bench.cell.attacker import Attacker
from bench.cell.attempt import run_attack
from bench.cell.capture_store import CaptureStore
from bench.cell.job import Job
from bench.cell.judge import Judge
from bench.cell.measures import measure
from bench.cell.outcome import result_without_scores, to_result
from bench.cell.result import CellResult
from bench.cell.scores import ClaimScores, score_claim
from bench.cell.targets import choose_targets
from bench.cell.training import train_capture
from bench.ledger.ledger import Ledger
from bench.util.files import DiskFullError
from bench.util.progress import Progress
from bench.wire.capture import Capture


class Runner:
    """Runs cells under one results directory."""

    def __init__(self, results: Path, progress: Progress) -> None:
        self.results = results
        self._progress = progress
        self._captures = CaptureStore(results)

    def run(self, job: Job, *, fresh: bool = False) -> CellResult:
        """Run one cell and store its rows; arguments and exceptions are those of ``compute``."""
        ledger = Ledger(self.results, self._progress)
        result = self.compute(job, fresh=fresh)
        result.store(ledger, job.cell)
        return result

    def compute(self, job: Job, *, fresh: bool = False) -> CellResult:
        """Run one cell; the ledger is not touched.

        An attack that does not apply or raises still gives rows, with the status and the reason.

        Args:
            fresh: train and measure even what is kept from an earlier run.

        Raises:
            RequestError: the request is wrong for this cell.
            DataError: data or model cannot be used.
            DiskFullError: nothing more can be stored.
        """
        if job.obstacle:
            return result_without_scores(
                job.cell, "not_applicable", job.obstacle, split_hash=job.splits.manifest_hash()
            )
        start, results, progress = time.perf_counter(), self.results, self._progress
        capture, reused = self.capture(job, fresh=fresh)
        targets = choose_targets(capture.transcript, job)
        attacker = Attacker.from_job(job)
        attempt = run_attack(job, capture, targets, attacker, progress)
        judge = Judge.from_job(job, attacker.gallery)
        measures = measure(job, capture, judge, results, progress, fresh=fresh)
        try:
            scores = score_claim(job, capture, targets, attempt, judge, progress)
            result = to_result(job, capture, targets, attempt, scores, measures, results)
        except DiskFullError:
            raise
        except Exception as error:  # the claim cannot be scored; the row keeps what was measured
            attempt = attempt.as_failed(error)
            result = to_result(job, capture, targets, attempt, ClaimScores(), measures, results)
        return replace(result, reused=reused, seconds=time.perf_counter() - start)

    def capture(self, job: Job, *, fresh: bool = False) -> tuple[Capture, bool]:
        """Return the capture of ``job``, trained where it is not kept, and whether it was kept."""
        return self._captures.get(
            job.cell.capture,
            lambda out: train_capture(job, out, self._progress),
            fresh=fresh,
            progress=self._progress,
        )
