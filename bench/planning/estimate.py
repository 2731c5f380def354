"""Estimate how long cells take, from the steps that they count and the times in the ledger."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from bench.cell.job import Job
from bench.ledger.reader import CellEntry
from bench.settings.cell import CellSpec

# Seconds on one CPU thread for the embedded model and 64x64 pictures. Cells in the ledger correct
# the scale.
_TRAIN_RECORD = 0.04
_ATTACK_RECORD = 0.011
_UTILITY_RECORD_STEP = 0.05
_SCORING = 12.0


def estimate_seconds(jobs: Sequence[Job], known: Mapping[str, CellEntry]) -> float:
    """Return the seconds of work that ``jobs`` take on one worker.

    Args:
        known: cells of the ledger; their median ratio of real to counted time is the scale.
    """
    trained = {entry.capture_id for entry in known.values()}
    total = 0.0
    for job in jobs:
        if job.obstacle:
            continue
        capture = job.cell.capture.content_hash()[:16]
        total += _counted(job.cell, train=capture not in trained)
        trained.add(capture)
    return total * _scale(known)


def _scale(known: Mapping[str, CellEntry]) -> float:
    ratios = [
        entry.seconds / _counted(CellSpec.model_validate_json(entry.spec), train=entry.trained)
        for entry in known.values()
        if entry.seconds and entry.status == "ok"
    ]
    return statistics.median(ratios) if ratios else 1.0


def _counted(cell: CellSpec, *, train: bool) -> float:
    data, training, attack = cell.capture.data, cell.capture.training, cell.attack
    seconds = _SCORING + attack.iterations * attack.batch_size * _ATTACK_RECORD
    if train:
        seconds += training.epochs * data.splits.victim * _TRAIN_RECORD
        seconds += data.splits.evaluation * cell.utility.steps * _UTILITY_RECORD_STEP
    return seconds
