"""Numbers that an attack wants in its row: columns ``attack_*``, which nothing else writes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from bench.util.errors import BenchError

PREFIX = "attack_"

TAKEN = frozenset({"attack_seconds", "attack_iterations", "attack_batch_size"})
"""Columns of the runner's own that begin with the prefix."""

MOST = 100
"""Diagnostics of one attack."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


def diagnostic_columns(attack: str, found: object) -> dict[str, float | int]:
    """Return the columns of a claim's diagnostics: each name with ``attack_`` before it, unless it
    begins so already.

    A float that is not finite is kept as it is: it leaves its column empty and raises a flag
    (:func:`bench.scoring.score.flags`), since a search that diverged is a result.

    Raises:
        BenchError: no mapping, a name that cannot be a column or is taken, or a value that is no
            number.
    """
    if not isinstance(found, Mapping):
        raise BenchError(
            f"attack {attack!r}: diagnostics must be a dict of numbers by name, got {_kind(found)}"
        )
    if len(found) > MOST:
        raise BenchError(f"attack {attack!r}: {len(found)} diagnostics; a row has room for {MOST}")
    columns: dict[str, float | int] = {}
    for name, value in found.items():
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise BenchError(
                f"attack {attack!r}: diagnostic {str(name)[:80]!r} is no column name; use up to 60 small letters, "
                "digits and _, a letter first"
            )
        column = name if name.startswith(PREFIX) else PREFIX + name
        if column in TAKEN:
            raise BenchError(
                f"attack {attack!r}: diagnostic {name!r} would be the column {column!r}, which is taken"
            )
        if column in columns:
            raise BenchError(f"attack {attack!r}: two diagnostics would be the column {column!r}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BenchError(
                f"attack {attack!r}: diagnostic {name!r} must be an int or a float, got {_kind(value)}"
            )
        columns[column] = value
    return columns


def not_finite(columns: Mapping[str, float | int]) -> bool:
    """Whether one of the numbers is infinite or NaN."""
    return not all(math.isfinite(value) for value in columns.values())


def _kind(value: object) -> str:
    return type(value).__name__
