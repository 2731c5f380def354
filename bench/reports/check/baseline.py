"""Reads and writes baselines: the rows of a suite with the tolerances of their comparison.

Four files, made to be committed: ``NAME.csv`` (a row a cell and target), ``NAME.scores.jsonl``
(scores by record), ``NAME.json`` (suite, tolerances, origin and a hash of the other two) and
``NAME.history.csv`` (why it was changed).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.planning.suite_plan import UNFINISHED
from bench.reports.check.baseline_parse import parse_table
from bench.reports.check.baseline_rows import (
    BaselineTable,
    baseline_lines,
    read_scores,
    scores_text,
    table_from_rows,
    table_text,
)
from bench.reports.check.compared_rows import ComparedRow, Key
from bench.reports.check.verdict import Tolerances
from bench.reports.processor_tolerance import ProcessorTolerance
from bench.util.errors import DataError, RequestError
from bench.util.files import disk_errors, write_text
from bench.util.provenance import commit, versions

FORMAT = 2


@dataclass(frozen=True, eq=False)
class Baseline:
    """The rows that a check compares with, and how it compares them.

    Attributes:
        compared_rows: the rows by key.
        suite: name of a shipped suite, or the path of a suite file from the baseline's directory.
        tolerances: which differences count.
        accepts_failed: whether the baseline may hold cells that failed.
        versions: versions of the libraries that made the rows.
    """

    compared_rows: Mapping[Key, ComparedRow]
    suite: str
    tolerances: Tolerances
    accepts_failed: bool = False
    versions: Mapping[str, str] = field(default_factory=versions)

    @property
    def cells(self) -> int:
        """Return the number of cells."""
        return len({point.cell_id for point in self.compared_rows.values()})


def read_baseline(path: Path) -> Baseline:
    """Return the baseline that ``write_baseline`` wrote, with its scores by record.

    Raises:
        RequestError: the file does not exist.
        DataError: a file is damaged or was edited; the message names the file, and the row where
            there is one.
    """
    if not path.exists():
        raise RequestError(
            f"{path}: does not exist; bench check SUITE --update --reason TEXT writes a baseline"
        )
    about = _about(path)
    table = BaselineTable(baseline_lines(path), read_scores(_scores_path(path)))
    if list(table.header) != about["columns"]:
        changed = sorted(set(table.header) ^ set(about["columns"])) or ["their order"]
        raise DataError(f"{path}: its columns were changed: {', '.join(changed)}")
    rows = parse_table(path, _scores_path(path), table)
    if not rows:
        raise DataError(
            f"{path}: has no row; bench check SUITE --update --reason TEXT writes it again"
        )
    failed = sum(point.status in UNFINISHED for point in rows.values())
    if failed and not about["accepts_failed"]:
        raise DataError(f"{path}: {failed} of its rows failed, but it does not accept failed rows")
    if _digest(table) != about["sha256"]:
        raise DataError(
            f"{path}: the file or its scores were edited; restore the committed files, or write "
            "them again with bench check SUITE --update --reason TEXT"
        )
    return Baseline(
        rows, about["suite"], about["tolerances"], about["accepts_failed"], about["versions"]
    )


def write_baseline(path: Path, baseline: Baseline, *, reason: str, accepted: int) -> None:
    """Replace the files of a baseline and add a line to its history.

    Args:
        path: the CSV file; the other files are written beside it.
        baseline: the content.
        reason: why the baseline changes, for the history.
        accepted: number of findings that the change accepts, for the history.

    Raises:
        RequestError: cells failed and the baseline does not accept failed cells, or nothing in it
            can be compared.
    """
    current = baseline.compared_rows
    failed = sorted(
        {f"{p.key[2].label} on {p.key[1]}" for p in current.values() if p.status in UNFINISHED}
    )
    if failed and not baseline.accepts_failed:
        raise RequestError(
            f"{len(failed)} of the cells failed ({failed[0]}{', …' * (len(failed) > 1)}), and a "
            "failed cell cannot detect a regression; fix them, or pass --accept-failed"
        )
    if not any(point.measure for point in current.values()):
        raise RequestError(
            "no cell of the suite has a score, so nothing could be compared with this baseline"
        )
    table = table_from_rows(current.values())
    history = path.with_name(f"{path.stem}.history.csv")
    line = [
        datetime.now(UTC).isoformat(timespec="seconds"),
        commit(),
        str(len(current)),
        str(accepted),
        reason,
    ]
    header = ["created", "commit", "rows", "accepted", "reason"]
    before = history.read_text(encoding="utf-8") if history.exists() else table_text([header])
    with disk_errors(path):
        write_text(_scores_path(path), scores_text(table.scores))
        write_text(path, table_text(table.lines))
        write_text(_about_path(path), json.dumps(_description(baseline, table), indent=1) + "\n")
        write_text(history, before + table_text([line]))


def _description(baseline: Baseline, table: BaselineTable) -> dict[str, Any]:
    limits = baseline.tolerances
    return {
        "format": FORMAT,
        "suite": baseline.suite,
        "cells": baseline.cells,
        "rows": len(baseline.compared_rows),
        "commit": commit(),
        "versions": dict(baseline.versions),
        "processors": sorted({point.processor for point in baseline.compared_rows.values()} - {""}),
        "accepts_failed": baseline.accepts_failed,
        "tolerances": {
            "attack": limits.attack,
            "record": limits.record,
            "utility": limits.utility,
            "alpha": limits.alpha,
            "processor": limits.processor.as_json(),
        },
        "columns": list(table.header),
        "sha256": _digest(table),
    }


def _about(path: Path) -> dict[str, Any]:
    """Return the checked content of the JSON file beside a baseline."""
    about = _about_path(path)
    if not about.exists():
        raise DataError(
            f"{about}: file is missing, which baselines have since format {FORMAT}; "
            "write the baseline again with bench check SUITE --update --reason TEXT"
        )
    try:
        content = json.loads(about.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise DataError(
                f"{about}: baseline format {content['format']}, but this version reads {FORMAT}"
            )
        limits = content["tolerances"]
        tolerances = Tolerances(
            **{name: float(limits[name]) for name in ("attack", "record", "utility", "alpha")},
            processor=ProcessorTolerance.from_json(limits["processor"]),
        )
        return {
            "suite": str(content["suite"]),
            "accepts_failed": content["accepts_failed"] is True,
            "tolerances": tolerances,
            "versions": {str(name): str(version) for name, version in content["versions"].items()},
            "columns": [str(name) for name in content["columns"]],
            "sha256": str(content["sha256"]),
        }
    except RequestError as error:
        raise DataError(f"{about}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{about}: does not describe a baseline: {type(error).__name__} {error}"
        ) from error


def _digest(table: BaselineTable) -> str:
    """Return the hash of the content of both files, which does not depend on line ends."""
    content = [
        table.lines,
        [(score.cell_id, score.target, score.as_json()) for score in table.scores],
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _about_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.json")


def _scores_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.scores.jsonl")
