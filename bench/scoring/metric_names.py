"""Refuses metric names whose columns would clash with other columns of a row."""

from __future__ import annotations

import re

from bench.ledger.columns import FIRST_COLUMNS
from bench.util.errors import RequestError

# fmt: off
RESERVED = frozenset((
    *FIRST_COLUMNS,
    "withheld_from_view", "dataset", "condition", "image_size", "model", "scale", "seed", "target",
    "n", "target_epoch", "update_records", "epochs", "batch_size", "learning_rate", "dtype",
    "device", "threads", "gallery", "backbones", "model_hash", "data_hash", "split_hash",
    "capture_id", "commit", "created", "spec", "channels_sent", "channels_granted",
    "channels_read", "bytes_up", "bytes_down", "bytes_once", "steps", "loss_first", "loss_last",
    "client_seconds", "server_seconds", "peak_memory_mib", "guarantee", "certificate", "flags",
    "versions", "processor", "duplicate_records",
))
# fmt: on
"""Columns that the runner writes; no metric may have one of these names."""

RESERVED_PREFIXES = ("attack_", "utility_", "leak_", "label_", "link_", "records_")
"""Prefixes of further columns that the runner writes."""

_METRIC = re.compile(r"[a-z][a-z0-9_-]{0,59}")
_SUFFIXES = ("low", "high", "floor", "ceiling", "normalized", "backbone")


def check_metric_name(name: str) -> None:
    """Refuse the name of a metric whose columns would clash with other columns.

    Raises:
        RequestError: the name is no column name, or the runner writes such a column.
    """
    if not _METRIC.fullmatch(name):
        raise RequestError(
            f"metric {name!r}: not a valid column name; use at most 60 characters: "
            "lower-case letters, digits, _ and -, starting with a letter"
        )
    if (
        name in RESERVED
        or name.startswith(RESERVED_PREFIXES)
        or name.rpartition("_")[2] in _SUFFIXES
    ):
        raise RequestError(
            f"metric {name!r}: the runner writes columns of that name; choose another name"
        )
