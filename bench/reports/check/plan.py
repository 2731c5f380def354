"""Picks the rows of a suite from a ledger, and reports cells without current rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.reports.check.verdict import Finding
from bench.reports.comparability import Row
from bench.settings.difference import spec_difference
from bench.util.errors import DataError

NOT_RUN = "not_run"
"""Status of a planned row that the ledger does not have."""

_LISTED = 3


@dataclass(frozen=True, eq=False)
class SuiteState:
    """The rows of a suite that a check compares.

    Attributes:
        rows: the rows of every cell of the suite; status ``not_run`` where the ledger has none.
        findings: findings on cells without rows, and on rows of other code, data or models.
        cells: number of cells of the suite.
        cells_found: number of these cells that the ledger has.
        cells_left_out: number of other cells in the ledger.
    """

    rows: Sequence[Row]
    findings: tuple[Finding, ...]
    cells: int
    cells_found: int
    cells_left_out: int


def suite_state(planned: Iterable[Row], stored: Iterable[Row]) -> SuiteState:
    """Return the rows of the cells that the suite has now.

    Args:
        planned: a row with status ``not_run`` for each cell and target of the suite, with the id
            and spec that follow from the current code, data, models and versions.
        stored: all rows of the ledger.
    """
    in_suite = _by_cell(planned)
    in_ledger = _by_cell(stored)
    absent = [cell_id for cell_id in in_suite if cell_id not in in_ledger]
    rows = [row for cell_id, of_cell in in_suite.items() for row in in_ledger.get(cell_id, of_cell)]
    others = {
        cell_id: of_cell[0] for cell_id, of_cell in in_ledger.items() if cell_id not in in_suite
    }
    findings = _absence_findings(
        [in_suite[cell_id][0] for cell_id in absent], others.values(), len(in_suite)
    )
    return SuiteState(
        rows, tuple(findings), len(in_suite), len(in_suite) - len(absent), len(others)
    )


def check_distinct(rows: Iterable[Row], keys: Iterable[object]) -> None:
    """Refuse rows where two cells have one key, since only one of them could be compared.

    Raises:
        DataError: names the two cells.
    """
    cells: dict[object, str] = {}
    for row, key in zip(rows, keys, strict=True):
        other = cells.setdefault(key, str(row["cell_id"]))
        if other != row["cell_id"]:
            raise DataError(
                f"cells {other} and {row['cell_id']} of the suite differ in nothing that a check "
                "compares by; check them in separate suites"
            )


def _by_cell(rows: Iterable[Row]) -> dict[str, list[Row]]:
    by_cell: dict[str, list[Row]] = {}
    for row in rows:
        by_cell.setdefault(str(row.get("cell_id")), []).append(row)
    return by_cell


def _absence_findings(absent: Sequence[Row], others: Iterable[Row], count: int) -> list[Finding]:
    """Return a finding on all cells that never ran, and one for each difference of stale rows."""
    relatives: dict[tuple[str, ...], list[Row]] = {}
    for other in others:
        relatives.setdefault(_cell_name(other), []).append(other)
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in absent:
        now = str(row.get("spec"))
        differences = [
            spec_difference(str(other.get("spec")), now)
            for other in relatives.get(_cell_name(row), ())
        ]
        groups.setdefault(min(differences, key=len, default=()), []).append(row)
    return [
        _absence_finding(differences, rows, count) for differences, rows in sorted(groups.items())
    ]


def _absence_finding(differences: tuple[str, ...], rows: Sequence[Row], count: int) -> Finding:
    many = f"{len(rows)} of the suite's {count} cells" if count > 1 else "the suite's only cell"
    names = list(dict.fromkeys(f"{row['attack']} on {row['defense']}" for row in rows))
    listed = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
    has = "have" if len(rows) > 1 else "has"
    if not differences:
        sentence = (
            f"{many} {has} no rows in the ledger ({listed}); bench check SUITE runs what is missing"
        )
        return Finding("not-run", "cells that were not run", sentence, "unsure")
    listed_differences = [
        *differences[:_LISTED],
        *([f"{len(differences) - _LISTED} more"] if len(differences) > _LISTED else []),
    ]
    made_with = f"made with {', '.join(listed_differences)}"
    sentence = f"{many} {has} rows of another state only ({listed}), {made_with}; they do not count"
    return Finding(
        "stale",
        f"rows {made_with}",
        f"{sentence}, bench check SUITE runs the present one",
        "unsure",
    )


def _cell_name(row: Row) -> tuple[str, ...]:
    """Return the plugins, view and seed of a cell, which do not depend on parameters or code."""
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
        spec = json.loads(str(row.get("spec") or "{}"))
    except ValueError:
        return {}
    return spec if isinstance(spec, dict) else {}
