"""A baseline: the points that a check compares with, the suite they are of, and the tolerances they
are held to.

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
from bench.reports.check.baseline_rows import (
    BaselineTable,
    baseline_lines,
    parse_table,
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
    """What a check compares with.

    Attributes:
        suite: name of a shipped suite, or a file's path from the baseline's folder.
        accepts_failed: whether it may hold cells that failed.
        versions: of the libraries that it was made with; those that are here for a new one.
    """

    compared_rows: Mapping[Key, ComparedRow]
    suite: str
    tolerances: Tolerances
    accepts_failed: bool = False
    versions: Mapping[str, str] = field(default_factory=versions)

    @property
    def cells(self) -> int:
        """How many cells it has."""
        return len({point.cell_id for point in self.compared_rows.values()})


def read_baseline(path: Path) -> Baseline:
    """A baseline with its scores by record, as ``write_baseline`` left it.

    Raises:
        RequestError: there is none.
        DataError: a file is damaged or was edited; the message names it, and the row where one is
            to blame.
    """
    if not path.exists():
        raise RequestError(
            f"{path}: no baseline there; make one with bench check SUITE --update --reason TEXT"
        )
    about = _about(path)
    table = BaselineTable(baseline_lines(path), read_scores(_scores_path(path)))
    if list(table.header) != about["columns"]:
        changed = sorted(set(table.header) ^ set(about["columns"])) or ["their order"]
        raise DataError(f"{path}: has other columns than it was written with: {', '.join(changed)}")
    found = parse_table(path, _scores_path(path), table)
    if not found:
        raise DataError(
            f"{path}: holds no row; make it anew with bench check SUITE --update --reason TEXT"
        )
    failed = sum(point.status in UNFINISHED for point in found.values())
    if failed and not about["accepts_failed"]:
        raise DataError(f"{path}: {failed} of its rows failed, which it does not say it accepts")
    if _digest(table) != about["sha256"]:
        raise DataError(
            f"{path}: it or the scores beside it were changed since they were written; "
            "take the committed files, or make them anew with bench check SUITE --update --reason TEXT"
        )
    return Baseline(
        found, about["suite"], about["tolerances"], about["accepts_failed"], about["versions"]
    )


def write_baseline(path: Path, baseline: Baseline, *, reason: str, accepted: int) -> None:
    """Replace the files, and add a line to the history: when, why, from which source, what it
    accepts.

    Raises:
        RequestError: cells failed and the baseline does not accept that, or nothing in it can be
            compared.
    """
    current = baseline.compared_rows
    failed = sorted(
        {f"{p.key[2].label} on {p.key[1]}" for p in current.values() if p.status in UNFINISHED}
    )
    if failed and not baseline.accepts_failed:
        raise RequestError(
            f"{len(failed)} of the cells failed ({failed[0]}{', …' * (len(failed) > 1)}), and a failed cell guards "
            "nothing; mend them, or say --accept-failed"
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
    """The checked content of the JSON file beside a baseline."""
    about = _about_path(path)
    if not about.exists():
        raise DataError(
            f"{about}: file is missing; baselines have one since format {FORMAT}: "
            "make the baseline anew with bench check SUITE --update --reason TEXT"
        )
    try:
        found = json.loads(about.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise DataError(
                f"{about}: baseline format {found['format']}, this version reads {FORMAT}"
            )
        limits = found["tolerances"]
        tolerances = Tolerances(
            **{name: float(limits[name]) for name in ("attack", "record", "utility", "alpha")},
            processor=ProcessorTolerance.from_json(limits["processor"]),
        )
        return {
            "suite": str(found["suite"]),
            "accepts_failed": found["accepts_failed"] is True,
            "tolerances": tolerances,
            "versions": {str(name): str(version) for name, version in found["versions"].items()},
            "columns": [str(name) for name in found["columns"]],
            "sha256": str(found["sha256"]),
        }
    except RequestError as error:
        raise DataError(f"{about}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{about}: does not describe a baseline: {type(error).__name__} {error}"
        ) from error


def _digest(table: BaselineTable) -> str:
    """Hash of the content of both files, whatever their line ends."""
    content = [
        table.lines,
        [(score.cell_id, score.target, score.as_json()) for score in table.scores],
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _about_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.json")


def _scores_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.scores.jsonl")
