"""Turn what came of a cell into rows, scores by record and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cell.attempt import Attempt
from bench.cell.measures import Measures
from bench.cell.result import CellResult
from bench.cell.scores import ClaimScores
from bench.interfaces.attack import Attack
from bench.interfaces.registry import Registry
from bench.ledger.score_files import RecordScore
from bench.scoring.picture import Panel, save_picture
from bench.scoring.rows import CellOutcome, Value, make_rows
from bench.settings.cell import CellSpec
from bench.types.targets import TARGETS
from bench.util.errors import RequestError
from bench.util.failure import forget_trace, keep_trace
from bench.util.files import disk_errors
from bench.wire.transcript import Release

if TYPE_CHECKING:
    from bench.cell.job import Job
    from bench.wire.capture import Capture


def to_result(
    job: Job,
    capture: Capture,
    targets: list[Release],
    attempt: Attempt,
    scores: ClaimScores,
    measures: Measures,
    results: Path,
) -> CellResult:
    """Return the rows of a cell and what is kept with them.

    The picture and the traceback of a failed attempt are written below ``results``.

    Raises:
        BenchError: a plugin would write a column that another part of the row has.
        DiskFullError: a file cannot be written.
    """
    cell_id, reason = job.cell.cell_id, attempt.reason
    if attempt.failure is None:
        forget_trace(results, cell_id)
    else:
        reason = keep_trace(results, cell_id, attempt.failure)
    records = [name.partition(":")[2] for name in capture.secrets.truth(targets)[0].ids]
    outcome = _outcome(job, capture, targets, attempt, scores, measures, reason)
    return CellResult(
        rows=_rows(job.cell, outcome, job.attack.claimed_targets, job.splits.manifest_hash()),
        scores=tuple(
            RecordScore(target, score.metric, record, float(value))
            for target, one in scores.targets.items()
            for score in one.metrics
            for record, value in zip(records, score.values, strict=True)
        ),
        utility=measures.utility,
        picture=_picture(job.cell, [s.panel for s in scores.targets.values() if s.panel], results),
    )


def result_without_scores(
    cell: CellSpec,
    status: str,
    reason: str,
    *,
    split_hash: str,
    seconds: float = 0.0,
    refused: bool = False,
) -> CellResult:
    """Return the result of a cell that was not attacked, or not to the end."""
    outcome = CellOutcome(status=status, reason=reason)
    rows = _rows(cell, outcome, _expected_targets(cell), split_hash)
    return CellResult(rows=rows, reused=True, seconds=seconds, refused=refused)


def _outcome(
    job: Job,
    capture: Capture,
    targets: list[Release],
    attempt: Attempt,
    scores: ClaimScores,
    measures: Measures,
    reason: str,
) -> CellOutcome:
    by_target = scores.targets
    flags = (*capture.flags, *attempt.flags, *measures.flags, *scores.flags)
    return CellOutcome(
        status=attempt.status,
        reason=reason,
        sent=frozenset(capture.transcript.channels()),
        granted=frozenset(attempt.granted),
        read=frozenset(attempt.read),
        scores={target: one.metrics for target, one in by_target.items()},
        flags={target: one.flags for target, one in by_target.items()},
        common_flags=tuple(dict.fromkeys(flags)),
        certificates={t: one.certificate for t, one in by_target.items() if one.certificate},
        unsupported_metrics={target: one.unsupported_metrics for target, one in by_target.items()},
        diagnostics=attempt.diagnostics,
        labels=scores.labels,
        utility=measures.utility,
        leakage=measures.leakage,
        costs=capture.costs,
        attack_seconds=attempt.seconds,
        guarantee=measures.guarantee,
        n=len(targets),
        gallery=scores.gallery,
        candidates=attempt.candidates,
        update_records=max(map(len, attempt.groups), default=0),
        target_epoch=targets[0].epoch if targets else None,
        duplicate_records=job.splits.duplicate_records(),
    )


def _rows(
    cell: CellSpec, outcome: CellOutcome, expected: Sequence[str], split_hash: str
) -> list[dict[str, Value]]:
    """Return a row for each target that is expected or claimed."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    targets = tuple(dict.fromkeys((*expected, *outcome.scores)))
    return make_rows(cell, outcome, split_hash=split_hash, targets=targets, created=created)


def _expected_targets(cell: CellSpec) -> tuple[str, ...]:
    """Return the targets that a cell of this attack has rows for, whatever comes of it."""
    attacks: Registry[Attack] = Registry("attacks", Attack)  # type: ignore[type-abstract]
    try:
        return attacks.load(cell.attack.attack.name).claimed_targets
    except RequestError:  # its package is not installed any more
        return TARGETS


def _picture(cell: CellSpec, panels: list[Panel], results: Path) -> Path | None:
    """Write the picture of a cell, if it has panels, and return its file."""
    if not panels:
        return None
    path = results / "pictures" / f"{cell.cell_id}.png"
    defense = "+".join(part.label for part in cell.capture.defense)
    with disk_errors(path):
        save_picture(path, panels, f"{cell.attack.attack.label} against {defense}")
    return path
