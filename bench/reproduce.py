"""``bench reproduce``: makes a row again from its own spec and compares the two, field by field."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.csv_text import read_table
from bench.errors import RequestError
from bench.ledger_reader import LedgerReader
from bench.planning import Job, Planner
from bench.progress import Progress
from bench.rows import TIMINGS
from bench.runner import Runner, without_scores
from bench.spec import CellSpec, PluginSpec

TOLERANCE = 1e-6
ORIGIN = ("schema_version", "cell_id", "capture_id", "model_hash", "data_hash", "versions", "spec")
"""Fields that say what a row was made with; where that has changed it is told once, and not as a mismatch."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Mismatch:
    """A field that came out otherwise."""

    target: str
    field: str
    stored: object
    found: object

    def __str__(self) -> str:
        return f"{self.target} {self.field}: {self.stored!r} in the row, {self.found!r} now"


@dataclass(frozen=True)
class Reproduction:
    """What came of making a row again.

    Attributes:
        changed: what is not as it was when the row was made, as parts of a sentence.
        compared: how many fields were held against each other.
    """

    cell_id: str
    changed: tuple[str, ...]
    compared: int
    mismatches: tuple[Mismatch, ...]


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
    found: list[Row] = [one for one in read_table(csv_file) if one.get("cell_id", "").startswith(row)]
    cells = {one["cell_id"] for one in found}
    if len(cells) != 1:
        raise RequestError(f"{csv_file}: {len(cells) or 'no'} cells have an id that starts with {row!r}")
    return found


def reproduce(
    rows: Sequence[Row],
    planner: Planner,
    progress: Progress,
    *,
    weights_dir: Path | None = None,
    tolerance: float = TOLERANCE,
) -> Reproduction:
    """Train, attack and score anew, in a directory of its own, and compare.

    Args:
        tolerance: how far a number may lie off, relative to its size (absolute below 1).

    Raises:
        RequestError: the row's spec cannot be read or cannot be met here, or the row was cut off by a time limit.
        DataError: data or model cannot be used.
    """
    import torch

    first = rows[0]
    if first["status"] == "timeout":
        raise RequestError(
            f"cell {first['cell_id']} was cut off by a time limit; bench run --retry-failed runs it again"
        )
    try:
        cell = CellSpec.model_validate_json(str(first["spec"]))
    except ValidationError as error:
        raise RequestError(f"cell {first['cell_id']}: its spec is of another version of bench") from error
    job = planner.rebuild(cell, weights_dir=weights_dir)
    if first.get("threads"):
        torch.set_num_threads(int(float(first["threads"])))
    found = {str(row["target"]): row for row in _run(job, progress)}
    compared, mismatches = 0, []
    for row in rows:
        target = str(row["target"])
        for name, stored in row.items():
            if name in TIMINGS or name in ORIGIN or stored in (None, ""):
                continue
            compared += 1
            now = found.get(target, {}).get(name)
            if not _same(stored, now, tolerance):
                mismatches.append(Mismatch(target, name, stored, now))
    return Reproduction(str(first["cell_id"]), tuple(_changed(cell, job.cell)), compared, tuple(mismatches))


def _run(job: Job, progress: Progress) -> Sequence[Row]:
    with tempfile.TemporaryDirectory(prefix="splitleak-") as directory:
        try:
            return Runner(Path(directory), progress).compute(job).rows
        except RequestError as error:
            return without_scores(job.cell, "not_applicable", str(error), split_hash=job.splits.manifest_hash()).rows


def _same(stored: object, now: object, tolerance: float) -> bool:
    """Equal as numbers, where both are; a CSV has nothing but text."""
    try:
        first, second = float(str(stored)), float(str(now))
    except ValueError:
        return str(stored) == str(now)
    return math.isclose(first, second, rel_tol=tolerance, abs_tol=tolerance) or (
        math.isnan(first) and math.isnan(second)
    )


def _changed(then: CellSpec, now: CellSpec) -> list[str]:
    """Parts of a sentence on what a row was made with and is not here any more."""
    found = [f"other code of {name}" for name, old, new in _plugins(then, now) if old.code != new.code]
    if then.capture.model_hash != now.capture.model_hash:
        found.append(f"another model under the name {then.capture.model!r}")
    if then.capture.data_hash != now.capture.data_hash:
        found.append(f"other records of {then.capture.data.dataset.label}")
    here = now.capture.versions
    for package, version in then.capture.versions.items():
        if here.get(package) != version:
            found.append(f"{package} {version} (here {here.get(package, 'none')})")
    return found


def _plugins(then: CellSpec, now: CellSpec) -> list[tuple[str, PluginSpec, PluginSpec]]:
    pairs = [
        ("victim", then.capture.victim, now.capture.victim),
        *(("defence", old, new) for old, new in zip(then.capture.defense, now.capture.defense, strict=True)),
        ("attack", then.attack.attack, now.attack.attack),
        *(("metric", old, new) for old, new in zip(then.metrics, now.metrics, strict=True)),
    ]
    return [(f"{kind} {old.name}", old, new) for kind, old, new in pairs]


def report(reproduction: Reproduction, tolerance: float) -> list[str]:
    """Lines for people."""
    lines = []
    if reproduction.changed:
        lines.append(f"The row was made with {'; '.join(reproduction.changed)}; compared with what is here now.")
    if not reproduction.mismatches:
        lines.append(
            f"cell {reproduction.cell_id} matches: {reproduction.compared} fields, numbers within {tolerance:g}"
        )
    return [*lines, *(f"  {mismatch}" for mismatch in reproduction.mismatches)]
