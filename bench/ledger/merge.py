"""Takes the cells of others' ledgers into one's own, all or none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.ledger.ledger import Ledger
from bench.ledger.merge_read import ForeignCell, read_foreign
from bench.ledger.score_files import RecordScore
from bench.util.errors import DataError, RequestError

AGREE = 1e-3
"""Two runs of one spec on different machines may differ by this much, relative to 1 or to the value."""

CONFLICT = "conflict"

_MAY_DIFFER = frozenset(
    {
        "client_seconds",
        "server_seconds",
        "attack_seconds",
        "peak_memory_mib",
        "created",
        "commit",
        "versions",
    }
    | {"threads", "origin", "flags", "reason"}
)


@dataclass(frozen=True)
class MergeResult:
    """What a merge did.

    Attributes:
        added: cells that were not there.
        known: cells that were there with the same values.
        conflicts: one sentence each; of these the own values were kept, with a flag.
    """

    added: int
    known: int
    conflicts: tuple[str, ...]


def merge(sources: Sequence[Path], into: Path, *, keep_conflicts: bool = False) -> MergeResult:
    """Merge ``sources`` into the ledger under ``into``.

    New rows carry the name of their source in ``origin``, unless they had one. A cell that is there
    with other values is a conflict: the merge is refused, or, with ``keep_conflicts``, the own row
    is kept and flagged ``conflict:ORIGIN``.

    Raises:
        DataError: a source cannot be believed (``read_foreign``); nothing has been written then.
        RequestError: a conflict, or two sources with one name.
    """
    names = [origin_name(source) for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise RequestError(
                f"two sources are called {name!r}; rename one, since rows keep the name as origin"
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
            f"{len(conflicts)} cells are there with other values, nothing was merged; first: {first}; "
            "to keep the ones that were there first, with a flag, add --keep-conflicts"
        )
    for cell_id, (name, cell) in added.items():
        rows = [{**row, "origin": row.get("origin") or name} for row in cell.rows]
        _write(ledger, cell_id, _marked(rows, marks.get(cell_id)), cell.scores)
    for cell_id in set(marks) - set(added):
        scores = [
            RecordScore(*fields)
            for fields in ledger.score_table(cell_id).itertuples(index=False, name=None)
        ]
        _write(ledger, cell_id, _marked(own[cell_id], marks[cell_id]), scores)
    return MergeResult(len(added), known, tuple(conflicts.values()))


def origin_name(source: Path) -> str:
    """What rows call a source: its directory's name, or its file's where that is not a standard
    one.

    Raises:
        DataError: no name is left.
    """
    path = source.resolve()
    named = path.parent if path.name in ("ledger.sqlite", "rows.csv") else path
    name = "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in named.stem).strip(
        "-"
    )
    if not name:
        raise DataError(f"{source}: give the directory a name, since rows keep it as origin")
    return name


def _difference(own: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> str | None:
    """The first field in which two versions of one cell differ, in words."""
    mine, theirs = ({row["target"]: row for row in rows} for rows in (own, other))
    if set(mine) != set(theirs):
        return "other targets"
    for target, row in mine.items():
        for field in sorted((set(row) | set(theirs[target])) - _MAY_DIFFER):
            one, two = row.get(field), theirs[target].get(field)
            if not _same(one, two):
                return f"{target} {field} is {_shown(one)} here and {_shown(two)} there"
    return None


def _same(one: object, two: object) -> bool:
    if isinstance(one, int | float) and isinstance(two, int | float):
        return math.isclose(one, two, rel_tol=AGREE, abs_tol=AGREE)
    return one == two or (not one and not two and not isinstance(one or two, int | float))


def _shown(value: object) -> str:
    return "missing" if value is None else str(value)[:60]


def _marked(rows: Sequence[Mapping[str, Any]], mark: str | None) -> list[dict[str, Any]]:
    if mark is None:
        return [dict(row) for row in rows]
    flags = [[flag for flag in str(row.get("flags") or "").split() if flag != mark] for row in rows]
    return [
        {**row, "flags": " ".join([*found, mark])} for row, found in zip(rows, flags, strict=True)
    ]


def _write(
    ledger: Ledger, cell_id: str, rows: Sequence[Mapping[str, Any]], scores: Sequence[RecordScore]
) -> None:
    ledger.write(cell_id, str(rows[0]["capture_id"]), str(rows[0]["spec"]), rows, scores)
