"""Runs the cell of a row again from the spec in the row, and compares all fields.

This is ``bench reproduce``.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.cell.job import Job
from bench.cell.outcome import result_without_scores
from bench.cell.runner import Runner
from bench.ledger.columns import TIMINGS
from bench.ledger.reader import LedgerReader
from bench.planning.planner import Planner
from bench.running.field_tolerance import EXACT, FieldTolerance, Mismatch
from bench.settings.cell import CellSpec
from bench.settings.difference import spec_difference
from bench.util.csv_text import read_table
from bench.util.errors import DataError, RequestError
from bench.util.processor import processor
from bench.util.progress import Progress

ORIGIN = ("schema_version", "cell_id", "capture_id", "model_hash", "data_hash", "versions", "spec")
"""Fields on the origin of a row; a change of origin is reported once, not as a mismatch."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Reproduction:
    """The comparison of a row with a new run of its cell.

    Attributes:
        cell_id: the cell.
        changed: differences of code, data, model and versions, as parts of a sentence.
        compared: number of compared fields.
        differing: fields that differ by more than ``EXACT`` and no more than allowed.
        mismatches: fields that differ by more than allowed.
        made_on: the processor of the row; empty where the row does not name it.
        here: the processor of the new run.
        tolerance: the relative tolerance of the caller; None where ``EXACT`` and the measured
            differences between processors apply.
    """

    cell_id: str
    changed: tuple[str, ...]
    compared: int
    differing: tuple[Mismatch, ...]
    mismatches: tuple[Mismatch, ...]
    made_on: str
    here: str
    tolerance: float | None

    @property
    def reproduced(self) -> bool:
        """Return whether no field differs by more than allowed."""
        return not self.mismatches

    @property
    def other_processor(self) -> bool:
        """Return whether the row was made on another or an unknown processor."""
        return self.made_on != self.here


def find_rows(row: str, results: Path, csv_file: Path | None) -> list[Row]:
    """Return the rows of a cell from a CSV file or from the ledger.

    Args:
        row: the id of a cell, or its beginning.
        results: directory of the ledger.
        csv_file: a CSV file of rows, which is read in place of the ledger; or None.

    Raises:
        RequestError: no cell or several cells have such an id.
        DataError: the CSV file cannot be read.
    """
    if csv_file is None:
        if not (results / "ledger.sqlite").exists():
            raise RequestError(
                f"{results} has no ledger; pass --results DIR, or a CSV file with --rows"
            )
        ledger = LedgerReader(results)
        cell_id = ledger.find(row).cell_id
        return [candidate for candidate in ledger.rows() if candidate["cell_id"] == cell_id]
    rows: list[Row] = [
        candidate
        for candidate in read_table(csv_file)
        if (candidate.get("cell_id") or "").startswith(row)
    ]
    cells = {candidate["cell_id"] for candidate in rows}
    if len(cells) != 1:
        raise RequestError(
            f"{csv_file}: {len(cells) or 'no'} cells have an id that starts with {row!r}"
        )
    if missing := [name for name in ("spec", "status", "target") if name not in rows[0]]:
        raise DataError(
            f"{csv_file}: has no column {', '.join(missing)}, which reproducing a row needs"
        )
    return rows


def reproduce(
    rows: Sequence[Row],
    planner: Planner,
    progress: Progress,
    *,
    weights_dir: Path | None = None,
    tolerance: float | None = None,
) -> Reproduction:
    """Train, attack and score again in a temporary directory, and compare all fields.

    Args:
        rows: the rows of one cell.
        planner: resolves the spec to a job.
        progress: shows the stages of the run.
        weights_dir: directory of the user's backbone weights.
        tolerance: allowed difference of a number, relative to its size (absolute below 1). None is
            ``EXACT`` on the processor that made the row; on another processor it is the largest
            difference that was measured between processors.

    Raises:
        RequestError: the spec of the row cannot be read or cannot run here, a time limit stopped
            the row, or the tolerance is negative or not finite.
        DataError: data or model cannot be used.
    """
    import torch

    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0.0):
        raise RequestError(f"--tolerance must be a finite number of at least 0, got {tolerance:g}")
    first = rows[0]
    if first["status"] == "timeout":
        raise RequestError(
            f"cell {first['cell_id']} was stopped by a time limit; "
            "bench run --retry-failed runs it again"
        )
    try:
        cell = CellSpec.model_validate_json(str(first["spec"]))
    except ValidationError as error:
        raise RequestError(
            f"cell {first['cell_id']}: another version of bench wrote its spec"
        ) from error
    job = planner.rebuild(cell, weights_dir=weights_dir)
    if first.get("threads"):
        torch.set_num_threads(int(float(first["threads"])))
    recomputed = {str(row["target"]): row for row in _run(job, progress)}
    made_on, here = str(first.get("processor") or ""), processor(job.cell.capture.device)
    tolerances = FieldTolerance(tolerance, made_on != here, cell.attack.attack.label)
    compared = [
        (str(row["target"]), name, stored, recomputed.get(str(row["target"]), {}).get(name))
        for row in rows
        for name, stored in row.items()
        if not (name in TIMINGS or name in ORIGIN or stored in (None, ""))
    ]
    differing, mismatches = tolerances.split(compared)
    return Reproduction(
        cell_id=str(first["cell_id"]),
        changed=spec_difference(str(first["spec"]), job.cell.canonical()),
        compared=len(compared),
        differing=differing,
        mismatches=mismatches,
        made_on=made_on,
        here=here,
        tolerance=tolerance,
    )


def _run(job: Job, progress: Progress) -> Sequence[Row]:
    with tempfile.TemporaryDirectory(prefix="splitleak-") as directory:
        try:
            return Runner(Path(directory), progress).compute(job).rows
        except RequestError as error:
            return result_without_scores(
                job.cell, "not_applicable", str(error), split_hash=job.splits.manifest_hash()
            ).rows


def report(reproduction: Reproduction) -> list[str]:
    """Return a sentence with the answer, and a line for each field that differs, largest first."""
    return [_sentence(reproduction), *_details(reproduction)]


def _sentence(reproduction: Reproduction) -> str:
    agreement = f"cell {reproduction.cell_id}, all {reproduction.compared} fields agree within"
    if not reproduction.reproduced:
        origins = [*reproduction.changed]
        if reproduction.other_processor:
            origins.append(_processors(reproduction))
        worst = max(reproduction.mismatches, key=lambda mismatch: mismatch.excess)
        sentence = (
            f"not reproduced: cell {reproduction.cell_id}, {len(reproduction.mismatches)} of "
            f"{reproduction.compared} fields differ, most of all {worst}"
        )
        return sentence + _origin(origins)
    if reproduction.tolerance is not None:
        sentence = f"reproduced: {agreement} {reproduction.tolerance:g}"
    elif not reproduction.differing:
        sentence = f"reproduced: {agreement} {EXACT:g}"
    else:
        largest = max(reproduction.differing, key=lambda mismatch: mismatch.excess)
        sentence = (
            f"reproduced: {agreement} what another processor changes "
            f"({len(reproduction.differing)} differ, most of all {largest}); "
            f"{_processors(reproduction)}"
        )
    return sentence + _origin(reproduction.changed)


def _origin(changes: Sequence[str]) -> str:
    return f"; the row was made with {', '.join(changes)}" if changes else ""


def _processors(reproduction: Reproduction) -> str:
    if not reproduction.made_on:
        return f"a processor that the row does not name (here {reproduction.here})"
    return f"another processor, {reproduction.made_on} (here {reproduction.here})"


def _details(reproduction: Reproduction) -> Iterator[str]:
    for label, mismatches in (
        ("differs", reproduction.mismatches),
        ("within", reproduction.differing),
    ):
        for item in sorted(mismatches, key=lambda mismatch: -mismatch.excess):
            yield f"  {label} {item}"
