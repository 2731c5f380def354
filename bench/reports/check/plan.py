"""The rows of a suite's present state: those that its cells have in the ledger, and what to say of the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.reports.check.verdict import Finding
from bench.reports.comparability import Row
from bench.spec.difference import spec_difference
from bench.util.errors import DataError

NOT_RUN = "not_run"
"""The status of a planned row that the ledger does not have."""

_NAMED = 3


@dataclass(frozen=True, eq=False)
class SuiteState:
    """The rows that a check judges.

    Attributes:
        rows: of every cell that the suite asks for; planned ones of status ``not_run`` where the
            ledger has none.
        findings: on cells without rows, and on rows that were made with something else.
        asked: how many cells the suite asks for; found: how many of them the ledger has.
        left_out: how many other cells of the ledger were left out.
    """

    rows: Sequence[Row]
    findings: tuple[Finding, ...]
    asked: int
    found: int
    left_out: int


def suite_state(planned: Iterable[Row], stored: Iterable[Row]) -> SuiteState:
    """Pick the rows of the cells that the suite asks for now.

    Args:
        planned: a row for each cell and target of the suite, of status ``not_run``, with the cell's
            id and spec as the present code, data, models and versions make them.
        stored: the rows of the ledger, of whatever state.

    Raises:
        DataError: two cells of the suite differ in nothing that a check tells cells apart by.
    """
    wanted = _by_cell(planned)
    there = _by_cell(stored)
    absent = [cell_id for cell_id in wanted if cell_id not in there]
    rows = [row for cell_id, of_cell in wanted.items() for row in there.get(cell_id, of_cell)]
    others = {cell_id: of_cell[0] for cell_id, of_cell in there.items() if cell_id not in wanted}
    found = _absences([wanted[cell_id][0] for cell_id in absent], others.values(), len(wanted))
    return SuiteState(rows, tuple(found), len(wanted), len(wanted) - len(absent), len(others))


def check_distinct(rows: Iterable[Row], keys: Iterable[object]) -> None:
    """Refuse rows of which two cells have one key: only one of them could be judged.

    Raises:
        DataError: names the two cells.
    """
    cells: dict[object, str] = {}
    for row, key in zip(rows, keys, strict=True):
        other = cells.setdefault(key, str(row["cell_id"]))
        if other != row["cell_id"]:
            raise DataError(
                f"cells {other} and {row['cell_id']} of the suite differ in nothing that a check compares by; "
                "check them with a suite each"
            )


def _by_cell(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row.get("cell_id")), []).append(row)
    return found


def _absences(absent: Sequence[Row], others: Iterable[Row], asked: int) -> list[Finding]:
    """One finding for all cells that were never run, and one for each thing that the others were made with."""
    relatives: dict[tuple[str, ...], list[Row]] = {}
    for other in others:
        relatives.setdefault(_name(other), []).append(other)
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in absent:
        now = str(row.get("spec"))
        ways = [
            spec_difference(str(other.get("spec")), now) for other in relatives.get(_name(row), ())
        ]
        groups.setdefault(min(ways, key=len, default=()), []).append(row)
    return [_absence(differences, rows, asked) for differences, rows in sorted(groups.items())]


def _absence(differences: tuple[str, ...], rows: Sequence[Row], asked: int) -> Finding:
    many = f"{len(rows)} of the suite's {asked} cells" if asked > 1 else "the suite's only cell"
    names = list(dict.fromkeys(f"{row['attack']} on {row['defense']}" for row in rows))
    listed = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    has = "have" if len(rows) > 1 else "has"
    if not differences:
        words = (
            f"{many} {has} no rows in the ledger ({listed}); bench check SUITE runs what is missing"
        )
        return Finding("not-run", "cells that were not run", words, "unsure")
    shown = [
        *differences[:_NAMED],
        *([f"{len(differences) - _NAMED} more"] if len(differences) > _NAMED else []),
    ]
    made = f"made with {', '.join(shown)}"
    words = f"{many} {has} rows of another state only ({listed}), {made}; they do not count"
    return Finding(
        "stale", f"rows {made}", f"{words}, bench check SUITE runs the present one", "unsure"
    )


def _name(row: Row) -> tuple[str, ...]:
    """What a cell is called, whatever its parameters' defaults, its code, its data and its model are."""
    threat: Mapping[str, Any] = _spec(row).get("threat") or {}
    defense = "+".join(part.partition(":")[0] for part in str(row.get("defense")).split("+"))
    attack, victim, data = (
        str(row.get(name)).partition(":")[0] for name in ("attack", "victim", "dataset")
    )
    withheld = str(row.get("withheld_from_view") or "")
    return (
        *(victim, str(row.get("protocol")), defense, attack, data, str(row.get("seed"))),
        *(str(threat.get("name") or row.get("threat_model")), withheld),
    )


def _spec(row: Row) -> dict[str, Any]:
    try:
        found = json.loads(str(row.get("spec") or "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
