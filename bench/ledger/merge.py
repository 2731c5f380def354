"""Merges the cells of other ledgers into a ledger, all of them or none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.ledger.columns import TIMINGS
from bench.ledger.ledger import Ledger
from bench.ledger.merge_read import ForeignCell, read_foreign
from bench.ledger.score_files import RecordScore
from bench.util.errors import DataError, RequestError

AGREE = 1e-3
"""Allowed difference of two runs of one spec, relative to the value (absolute below 1)."""

CONFLICT = "conflict"

_MAY_DIFFER = {*TIMINGS, "versions", "threads", "origin", "flags", "reason"} - {"processor"}


@dataclass(frozen=True)
class MergeResult:
    """The result of a merge.

    Attributes:
        added: number of cells that the ledger did not have.
        known: number of cells that the ledger had with equal values.
        conflicts: a sentence for each cell with other values; the ledger's values were kept and
            flagged.
    """

    added: int
    known: int
    conflicts: tuple[str, ...]


def merge(sources: Sequence[Path], into: Path, *, keep_conflicts: bool = False) -> MergeResult:
    """Merge ``sources`` into the ledger under ``into``.

    New rows carry the name of their source in ``origin``, unless they had one. A cell that the
    ledger has with other values is a conflict: the merge is refused, or, with ``keep_conflicts``,
    the ledger's row is kept and flagged ``conflict:ORIGIN``.

    Args:
        sources: results directories, ``ledger.sqlite`` or ``rows.csv`` files.
        into: results directory of the ledger.
        keep_conflicts: keep the ledger's rows where values differ.

    Raises:
        DataError: a source fails its checks (``read_foreign``); nothing was written.
        RequestError: there is a conflict, or two sources have one name.
    """
    names = [origin_name(source) for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise RequestError(
                f"two sources have the name {name!r}, which rows keep as origin; rename one of them"
            )
    foreign = [
        (name, cell)
        for name, source in zip(names, sources, strict=True)
        for cell in read_foreign(source)
    ]
    ledger = Ledger(into)
    own: dict[str, list[dict[str, Any]]] = {}
    for row in ledger.rows():
        own.setdefault(str(row["cell_id"]), []).append(row)
    added: dict[str, tuple[str, ForeignCell]] = {}
    conflicts: dict[str, str] = {}
    marks: dict[str, str] = {}
    known = 0
    for name, cell in foreign:
        rows = added[cell.cell_id][1].rows if cell.cell_id in added else own.get(cell.cell_id)
        if rows is None:
            added[cell.cell_id] = (name, cell)
            continue
        difference = _difference(rows, cell.rows)
        if difference is None:
            known += 1
        else:
            conflicts[f"{name} {cell.cell_id}"] = f"cell {cell.cell_id} of {name}: {difference}"
            marks[cell.cell_id] = f"{CONFLICT}:{name}"
    if conflicts and not keep_conflicts:
        first = next(iter(conflicts.values()))
        raise RequestError(
            f"{len(conflicts)} cells have other values in {into}, so nothing was merged; "
            f"first: {first}; --keep-conflicts keeps the values of {into} and flags them"
        )
    for cell_id, (name, cell) in added.items():
        rows = [{**row, "origin": row.get("origin") or name} for row in cell.rows]
        _write(ledger, cell_id, _add_flag(rows, marks.get(cell_id)), cell.scores)
    for cell_id in set(marks) - set(added):
        scores = [
            RecordScore(*fields)
            for fields in ledger.score_table(cell_id).itertuples(index=False, name=None)
        ]
        _write(ledger, cell_id, _add_flag(own[cell_id], marks[cell_id]), scores)
    return MergeResult(len(added), known, tuple(conflicts.values()))


def origin_name(source: Path) -> str:
    """Return the name of a source for the column ``origin``.

    It is the name of the directory, or of the file where that is not a standard one.

    Raises:
        DataError: the name has no usable character.
    """
    path = source.resolve()
    named = path.parent if path.name in ("ledger.sqlite", "rows.csv") else path
    name = "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in named.stem).strip(
        "-"
    )
    if not name:
        raise DataError(
            f"{source}: has no name that rows could keep as origin; rename the directory"
        )
    return name


def _difference(own: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> str | None:
    """Return words on the first field in which two versions of one cell differ, or None."""
    ours, theirs = ({row["target"]: row for row in rows} for rows in (own, other))
    if set(ours) != set(theirs):
        return "other targets"
    for target, row in ours.items():
        for field in sorted((set(row) | set(theirs[target])) - _MAY_DIFFER):
            our_value, their_value = row.get(field), theirs[target].get(field)
            if not _agree(our_value, their_value):
                return (
                    f"{target} {field} is {_short(our_value)} here and {_short(their_value)} there"
                )
    return None


def _agree(first: object, second: object) -> bool:
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=AGREE, abs_tol=AGREE)
    return first == second or (
        not first and not second and not isinstance(first or second, int | float)
    )


def _short(value: object) -> str:
    return "missing" if value is None else str(value)[:60]


def _add_flag(rows: Sequence[Mapping[str, Any]], mark: str | None) -> list[dict[str, Any]]:
    if mark is None:
        return [dict(row) for row in rows]
    flags = [[flag for flag in str(row.get("flags") or "").split() if flag != mark] for row in rows]
    return [
        {**row, "flags": " ".join([*of_row, mark])} for row, of_row in zip(rows, flags, strict=True)
    ]


def _write(
    ledger: Ledger, cell_id: str, rows: Sequence[Mapping[str, Any]], scores: Sequence[RecordScore]
) -> None:
    ledger.write(cell_id, str(rows[0]["capture_id"]), str(rows[0]["spec"]), rows, scores)
