"""What must hold of a stranger's row and cell before it is believed."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.ledger.diagnostics import PREFIX
from bench.ledger.ledger import Ledger
from bench.ledger.score_files import RecordScore
from bench.spec.cell import SCHEMA_VERSION
from bench.util.csv_text import LONGEST
from bench.util.errors import DataError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
CELL_ID = re.compile(r"[0-9a-f]{16}")
TEXT = (
    *Ledger.FIRST[1:],
    "target",
    "created",
    "capture_id",
    "spec",
    "flags",
    "guarantee",
    "dataset",
    "model",
)
"""Fields that are text whatever they look like."""

STATES = frozenset({"ok", "not_applicable", "not_claimed", "failed", "timeout"})

_WHOLE = ("schema_version", "seed", "n")
_NEEDED = (*Ledger.FIRST, "target", "n", "seed", "created", "capture_id", "spec")
_FORMULA = ("=", "+", "@", "\t", "\r")


def check_row(source: Path, row: Mapping[str, Any]) -> None:
    """The fields are there, named and typed as they should be.

    Raises:
        DataError: otherwise.
    """
    cell = str(row.get("cell_id"))[:40]
    missing = [name for name in _NEEDED if name not in row]
    if missing:
        raise DataError(f"{source}: a row of cell {cell!r} lacks {', '.join(missing)}")
    if row["schema_version"] != SCHEMA_VERSION:
        raise DataError(
            f"{source}: cell {cell!r} has schema {str(row['schema_version'])[:20]}, this version reads {SCHEMA_VERSION}"
        )
    for name, value in row.items():
        problem = _problem(name, value)
        if problem:
            raise DataError(f"{source}: cell {cell!r}: field {name[:40]!r} {problem}")
    if row["status"] not in STATES:
        raise DataError(f"{source}: cell {cell!r}: unknown status {row['status'][:40]!r}")


def _problem(name: str, value: object) -> str:
    """What is wrong with a field, or nothing."""
    if not NAME.fullmatch(name):
        return "has no proper name"
    if name == "cell_id" and not (isinstance(value, str) and CELL_ID.fullmatch(value)):
        return "is not 16 hexadecimal digits"
    if name in _WHOLE and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        return "must be a whole number from 0 up"
    if name in TEXT and not isinstance(value, str):
        return "must be text"
    if name.startswith(PREFIX) and isinstance(value, str):
        return "must be a number"
    if isinstance(value, str):
        if len(value) > LONGEST:
            return "is too long"
        if value.startswith(_FORMULA) or any(ord(sign) < 32 for sign in value):
            return "holds a control character, or starts as a spreadsheet formula does"
        return ""
    if isinstance(value, bool) or not (value is None or isinstance(value, int | float)):
        return "must be text or a number"
    return "is not finite" if isinstance(value, float) and not math.isfinite(value) else ""


def check_cell(
    source: Path, cell_id: str, rows: Sequence[Mapping[str, Any]], scores: Sequence[RecordScore]
) -> None:
    """The cell is the one its spec describes, and its means are those of its records.

    Raises:
        DataError: otherwise.
    """
    if len({row["target"] for row in rows}) != len(rows):
        raise DataError(f"{source}: cell {cell_id!r} has two rows of one target")
    values: dict[tuple[str, str], list[float]] = {}
    for score in scores:
        values.setdefault((score.target, score.metric), []).append(score.value)
    for row in rows:
        told = _told_by_spec(row["spec"])
        if hashlib.sha256(row["spec"].encode()).hexdigest()[:16] != cell_id or told is None:
            raise DataError(f"{source}: cell {cell_id!r} does not have the hash of its spec")
        lies = [name for name, value in told.items() if row[name] != value]
        if lies:
            raise DataError(
                f"{source}: cell {cell_id!r}: {', '.join(lies)} is not what its spec says"
            )
    by_target = {row["target"]: row for row in rows}
    for (target, metric), found in values.items():
        shown = by_target.get(target, {}).get(metric)
        mean = sum(found) / len(found)
        if not isinstance(shown, int | float) or abs(shown - mean) > 1e-5 * max(1.0, abs(mean)):
            raise DataError(
                f"{source}: cell {cell_id!r}: {target} {metric} is not the mean of its records"
            )


def _told_by_spec(spec: str) -> dict[str, Any] | None:
    """The fields of a row that its spec fixes, or None where it is no spec."""
    try:
        found = json.loads(spec)
        capture, attack = found["capture"], found["attack"]
        return {
            "victim": capture["victim"]["label"],
            "protocol": capture["protocol"],
            "defense": "+".join(defense["label"] for defense in capture["defense"]),
            "attack": attack["attack"]["label"],
            "threat_model": found["threat"]["name"],
            "seed": capture["seed"],
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
