"""Checks rows and cells of untrusted ledgers before they are merged."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.ledger.columns import FIRST_COLUMNS, TEXT_FIELDS
from bench.ledger.diagnostics import PREFIX
from bench.ledger.score_files import RecordScore
from bench.settings.cell import SCHEMA_VERSION
from bench.util.csv_text import LONGEST
from bench.util.errors import DataError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
CELL_ID = re.compile(r"[0-9a-f]{16}")
STATES = frozenset({"ok", "not_applicable", "not_claimed", "failed", "timeout"})

_WHOLE = ("schema_version", "seed", "n")
_NEEDED = (*FIRST_COLUMNS, "target", "n", "seed", "created", "capture_id", "spec")
_FORMULA = ("=", "+", "@", "\t", "\r")


def check_row(source: Path, row: Mapping[str, Any]) -> None:
    """Refuse a row with missing fields, or with names or values that no row has.

    Args:
        source: the file, for messages.
        row: the row to be checked.

    Raises:
        DataError: names the cell and the field.
    """
    cell = str(row.get("cell_id"))[:40]
    missing = [name for name in _NEEDED if name not in row]
    if missing:
        raise DataError(f"{source}: a row of cell {cell!r} lacks {', '.join(missing)}")
    if row["schema_version"] != SCHEMA_VERSION:
        raise DataError(
            f"{source}: cell {cell!r} has schema {str(row['schema_version'])[:20]}, "
            f"but this version reads {SCHEMA_VERSION}"
        )
    for name, value in row.items():
        problem = _problem(name, value)
        if problem:
            raise DataError(f"{source}: cell {cell!r}: field {name[:40]!r} {problem}")
    if row["status"] not in STATES:
        raise DataError(f"{source}: cell {cell!r}: unknown status {row['status'][:40]!r}")


def _problem(name: str, value: object) -> str:
    """Return what is wrong with a field, or an empty text."""
    if not NAME.fullmatch(name):
        return "has an invalid name"
    if name == "cell_id" and not (isinstance(value, str) and CELL_ID.fullmatch(value)):
        return "is not 16 hexadecimal digits"
    if name in _WHOLE and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        return "must be a non-negative integer"
    if name in TEXT_FIELDS and not isinstance(value, str):
        return "must be text"
    if name.startswith(PREFIX) and isinstance(value, str):
        return "must be a number"
    if isinstance(value, str):
        if len(value) > LONGEST:
            return "is too long"
        if value.startswith(_FORMULA) or any(ord(sign) < 32 for sign in value):
            return "holds a control character, or starts like a spreadsheet formula"
        return ""
    if isinstance(value, bool) or not (value is None or isinstance(value, int | float)):
        return "must be text or a number"
    return "is not finite" if isinstance(value, float) and not math.isfinite(value) else ""


def check_cell(
    source: Path, cell_id: str, rows: Sequence[Mapping[str, Any]], scores: Sequence[RecordScore]
) -> None:
    """Refuse a cell whose rows contradict its spec or its scores by record.

    Args:
        source: the file, for messages.
        cell_id: the cell.
        rows: its rows, which :func:`check_row` accepted.
        scores: its scores by record.

    Raises:
        DataError: names the cell and the contradiction.
    """
    if len({row["target"] for row in rows}) != len(rows):
        raise DataError(f"{source}: cell {cell_id!r} has two rows for one target")
    values: dict[tuple[str, str], list[float]] = {}
    for score in scores:
        values.setdefault((score.target, score.metric), []).append(score.value)
    for row in rows:
        expected = _fields_in_spec(row["spec"])
        if hashlib.sha256(row["spec"].encode()).hexdigest()[:16] != cell_id or expected is None:
            raise DataError(f"{source}: cell {cell_id!r} does not have the hash of its spec")
        wrong = [name for name, value in expected.items() if row[name] != value]
        if wrong:
            raise DataError(f"{source}: cell {cell_id!r}: {', '.join(wrong)} contradicts its spec")
    by_target = {row["target"]: row for row in rows}
    for (target, metric), of_metric in values.items():
        stated = by_target.get(target, {}).get(metric)
        mean = sum(of_metric) / len(of_metric)
        if not isinstance(stated, int | float) or abs(stated - mean) > 1e-5 * max(1.0, abs(mean)):
            raise DataError(
                f"{source}: cell {cell_id!r}: {target} {metric} is not the mean of its records"
            )


def _fields_in_spec(spec: str) -> dict[str, Any] | None:
    """Return the fields of a row that its spec determines, or None where the text is no spec."""
    try:
        content = json.loads(spec)
        capture, attack = content["capture"], content["attack"]
        return {
            "victim": capture["victim"]["label"],
            "protocol": capture["protocol"],
            "defense": "+".join(defense["label"] for defense in capture["defense"]),
            "attack": attack["attack"]["label"],
            "threat_model": content["threat"]["name"],
            "seed": capture["seed"],
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
