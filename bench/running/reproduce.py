"""``bench reproduce``: makes a row again from its own spec and says in one sentence whether it came out as it was."""

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
from bench.ledger.reader import LedgerReader
from bench.planning.planner import Planner
from bench.reports.processor_tolerance import Difference, measured_tolerance
from bench.scoring.rows import TIMINGS
from bench.spec.cell import CellSpec
from bench.spec.difference import spec_difference
from bench.util.csv_text import read_table
from bench.util.errors import DataError, RequestError
from bench.util.processor import processor
from bench.util.progress import Progress

EXACT = 1e-6
"""How far numbers of one processor may lie off, relative to their size (absolute below 1)."""
ORIGIN = ("schema_version", "cell_id", "capture_id", "model_hash", "data_hash", "versions", "spec")
"""Fields that say what a row was made with; where that has changed it is told once, and not as a mismatch."""
DERIVED = ("flags",)
"""Fields that follow from numbers: where those may differ in their last digits, these may too."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Mismatch:
    """A field that came out otherwise.

    Attributes:
        excess: how many times further off than allowed; infinite for what is no number.
    """

    target: str
    field: str
    stored: object
    found: object
    excess: float = math.inf

    def __str__(self) -> str:
        return f"{self.target} {self.field}: {self.stored!r} in the row, {self.found!r} now"


@dataclass(frozen=True)
class Reproduction:
    """What came of making a row again.

    Attributes:
        changed: what is not as it was when the row was made, as parts of a sentence.
        compared: how many fields were held against each other.
        differing: numbers that differ by no more than is allowed, beyond ``EXACT``.
        mismatches: fields that differ by more.
        made_on, here: the processors; ``made_on`` is empty where the row does not say.
        tolerance: relative, as the caller set it; None where numbers are held to what processors
            were seen to do.
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
        """Whether every field came out as it was, within what is allowed."""
        return not self.mismatches

    @property
    def other_processor(self) -> bool:
        """Whether the row was made on another processor, or does not say on which."""
        return self.made_on != self.here


def find_rows(row: str, results: Path, csv_file: Path | None) -> list[Row]:
    """The rows of a cell, from a CSV or from the ledger.

    Args:
        row: a cell's id, or the beginning of one.

    Raises:
        RequestError: there is no such cell, or several.
        DataError: the CSV cannot be read.
    """
    if csv_file is None:
        if not (results / "ledger.sqlite").exists():
            raise RequestError(f"{results} holds no ledger; give --results, or a CSV with --rows")
        ledger = LedgerReader(results)
        cell_id = ledger.find(row).cell_id
        return [one for one in ledger.rows() if one["cell_id"] == cell_id]
    found: list[Row] = [
        one for one in read_table(csv_file) if (one.get("cell_id") or "").startswith(row)
    ]
    cells = {one["cell_id"] for one in found}
    if len(cells) != 1:
        raise RequestError(
            f"{csv_file}: {len(cells) or 'no'} cells have an id that starts with {row!r}"
        )
    if missing := [name for name in ("spec", "status", "target") if name not in found[0]]:
        raise DataError(
            f"{csv_file}: has no column {', '.join(missing)}, from which a row could be made again"
        )
    return found


def reproduce(
    rows: Sequence[Row],
    planner: Planner,
    progress: Progress,
    *,
    weights_dir: Path | None = None,
    tolerance: float | None = None,
) -> Reproduction:
    """Train, attack and score anew, in a directory of its own, and compare.

    Args:
        tolerance: how far a number may lie off, relative to its size (absolute below 1). None is
            ``EXACT`` on the processor that made the row, and what processors were seen to change on
            another one.

    Raises:
        RequestError: the row's spec cannot be read or cannot be met here, the row was cut off by a
            time limit, or the tolerance is no finite number from 0 up.
        DataError: data or model cannot be used.
    """
    import torch

    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0.0):
        raise RequestError(f"--tolerance must be a finite number from 0 up, got {tolerance:g}")
    first = rows[0]
    if first["status"] == "timeout":
        raise RequestError(
            f"cell {first['cell_id']} was cut off by a time limit; bench run --retry-failed runs it again"
        )
    try:
        cell = CellSpec.model_validate_json(str(first["spec"]))
    except ValidationError as error:
        raise RequestError(
            f"cell {first['cell_id']}: its spec is of another version of bench"
        ) from error
    job = planner.rebuild(cell, weights_dir=weights_dir)
    if first.get("threads"):
        torch.set_num_threads(int(float(first["threads"])))
    found = {str(row["target"]): row for row in _run(job, progress)}
    made_on, here = str(first.get("processor") or ""), processor(job.cell.capture.device)
    held = _Held(tolerance, made_on != here, cell.attack.attack.label)
    compared = [
        (str(row["target"]), name, stored, found.get(str(row["target"]), {}).get(name))
        for row in rows
        for name, stored in row.items()
        if not (name in TIMINGS or name in ORIGIN or stored in (None, ""))
    ]
    differing, mismatches = held.split(compared)
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


@dataclass(frozen=True)
class _Held:
    """What numbers are held to."""

    tolerance: float | None
    other_processor: bool
    attack: str

    def split(
        self, compared: Sequence[tuple[str, str, object, object]]
    ) -> tuple[tuple[Mismatch, ...], tuple[Mismatch, ...]]:
        """The fields that differ: those within what is allowed, and the others."""
        within, beyond = [], []
        for target, name, stored, now in compared:
            excess = self._excess(name, stored, now)
            if excess > 1.0:
                beyond.append(Mismatch(target, name, stored, now, excess))
            elif not _close(stored, now, EXACT):
                within.append(Mismatch(target, name, stored, now, excess))
        return tuple(within), tuple(beyond)

    def _excess(self, name: str, stored: object, now: object) -> float:
        """How far off a field is, as a multiple of what is allowed."""
        tolerant = self.tolerance is None and self.other_processor
        exact = EXACT if self.tolerance is None else self.tolerance
        if _close(stored, now, exact) or (tolerant and name in DERIVED):
            return 0.0
        numbers = _both(stored, now)
        if numbers is None or not all(map(math.isfinite, numbers)):
            return math.inf
        one, other = numbers
        allowed = exact * max(1.0, abs(one))
        if tolerant:
            allowed = max(allowed, self._entry(name).allowed(one))
        return abs(one - other) / allowed if allowed else math.inf

    def _entry(self, name: str) -> Difference:
        return measured_tolerance().of(name, self.attack)


def _close(stored: object, now: object, tolerance: float) -> bool:
    """Equal as numbers, where both are; a CSV has nothing but text."""
    numbers = _both(stored, now)
    if numbers is None:
        return str(stored) == str(now)
    one, other = numbers
    return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance) or (
        math.isnan(one) and math.isnan(other)
    )


def _both(stored: object, now: object) -> tuple[float, float] | None:
    try:
        return float(str(stored)), float(str(now))
    except ValueError:
        return None


def report(reproduction: Reproduction) -> list[str]:
    """One sentence that answers, then a line for each field that differs, the furthest off first."""
    return [_sentence(reproduction), *_details(reproduction)]


def _sentence(again: Reproduction) -> str:
    apart = max(again.differing, key=lambda one: one.excess, default=None)
    if not again.reproduced:
        worst = max(again.mismatches, key=lambda one: one.excess)
        count = len(again.mismatches)
        words = f"not reproduced: cell {again.cell_id}, {count} of {again.compared} fields differ, most of all {worst}"
        origins = [*again.changed, *([_processors(again)] if again.other_processor else [])]
        return words + (f"; the row was made with {', '.join(origins)}" if origins else "")
    words = f"reproduced: cell {again.cell_id}, all {again.compared} fields agree"
    if again.tolerance is not None:
        words += f" within {again.tolerance:g}"
    elif apart is None:
        words += f" within {EXACT:g}"
    else:
        words += f" within what another processor changes ({len(again.differing)} differ, most of all {apart})"
        words += f"; {_processors(again)}"
    return words + (f"; the row was made with {', '.join(again.changed)}" if again.changed else "")


def _processors(again: Reproduction) -> str:
    if not again.made_on:
        return f"a processor that the row does not name (here {again.here})"
    return f"another processor, {again.made_on} (here {again.here})"


def _details(again: Reproduction) -> Iterator[str]:
    for words, found in (("differs", again.mismatches), ("within", again.differing)):
        for one in sorted(found, key=lambda mismatch: -mismatch.excess):
            yield f"  {words} {one}"
