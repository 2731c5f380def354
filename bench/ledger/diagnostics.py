"""Turns the diagnostics of an attack into the columns ``attack_*`` of its row."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from bench.util.errors import BenchError

PREFIX = "attack_"

RUNNER_COLUMNS = frozenset({"attack_seconds", "attack_iterations", "attack_batch_size"})
"""Columns with the prefix that the runner writes."""

MOST_DIAGNOSTICS = 100
"""Most diagnostics that one attack may report."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


def diagnostic_columns(attack: str, diagnostics: object) -> dict[str, float | int]:
    """Return the columns of a claim's diagnostics, with the prefix ``attack_`` where it is missing.

    A float that is not finite is kept: it leaves its column empty and raises a flag
    (:func:`bench.scoring.score.flags`), since a search that diverged is a result.

    Args:
        attack: name of the attack, for messages.
        diagnostics: what the claim holds; checked here.

    Raises:
        BenchError: the diagnostics are no mapping, a name is no column name or the runner writes
            that column, or a value is no number.
    """
    if not isinstance(diagnostics, Mapping):
        raise BenchError(
            f"attack {attack!r}: diagnostics must be a dict of numbers by name, "
            f"got {_type_name(diagnostics)}"
        )
    if len(diagnostics) > MOST_DIAGNOSTICS:
        raise BenchError(
            f"attack {attack!r}: {len(diagnostics)} diagnostics; "
            f"at most {MOST_DIAGNOSTICS} fit a row"
        )
    columns: dict[str, float | int] = {}
    for name, value in diagnostics.items():
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise BenchError(
                f"attack {attack!r}: diagnostic {str(name)[:80]!r} is no column name; use at "
                "most 60 lower-case letters, digits and _, starting with a letter"
            )
        column = name if name.startswith(PREFIX) else PREFIX + name
        if column in RUNNER_COLUMNS:
            raise BenchError(
                f"attack {attack!r}: diagnostic {name!r} would be the column {column!r}, "
                "which the runner writes"
            )
        if column in columns:
            raise BenchError(f"attack {attack!r}: two diagnostics would be the column {column!r}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BenchError(
                f"attack {attack!r}: diagnostic {name!r} must be an int or a float, "
                f"got {_type_name(value)}"
            )
        columns[column] = value
    return columns


def not_finite(columns: Mapping[str, float | int]) -> bool:
    """Return whether one of the numbers is infinite or NaN."""
    return not all(math.isfinite(value) for value in columns.values())


def _type_name(value: object) -> str:
    return type(value).__name__
