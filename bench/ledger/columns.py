"""Names and types of the columns that every row has."""

from __future__ import annotations

import re

FIRST_COLUMNS = (
    "schema_version",
    "cell_id",
    "status",
    "reason",
    "victim",
    "protocol",
    "defense",
    "attack",
    "threat_model",
)
"""Columns of every row, which come first in ``rows.csv``."""

TIMINGS = (
    "client_seconds",
    "server_seconds",
    "attack_seconds",
    "peak_memory_mib",
    "created",
    "commit",
    "processor",
)
"""Fields that may differ between two runs of one spec: durations, dates, machine and memory."""

TEXT_FIELDS = (
    *FIRST_COLUMNS[1:],
    "target",
    "created",
    "capture_id",
    "spec",
    "flags",
    "guarantee",
    "dataset",
    "model",
)
"""Fields that are text even where the text looks like a number."""

TEXT_COLUMNS = frozenset((*TEXT_FIELDS, "withheld_from_view", "channels_read", "reason"))
"""Columns in which ``1,5`` is text."""

_LOOKS_LIKE_NUMBER = ("threat", "commit", "origin")  # 12e45678 may be a hash, not a number


def parse_field(name: str, value: str) -> str | int | float:
    """Return a field of a CSV file as a number where its column may hold numbers, else as text."""
    if (
        name in TEXT_FIELDS
        or name in _LOOKS_LIKE_NUMBER
        or name.endswith(("_hash", "_id", "_backbone"))
    ):
        return value
    if re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    if re.fullmatch(r"-?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?", value):
        return float(value)
    return value
