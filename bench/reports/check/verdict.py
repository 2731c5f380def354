"""Defines the tolerances, findings and verdict of a check."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from bench.reports.processor_tolerance import ProcessorTolerance, measured_tolerance
from bench.util.errors import RequestError

Level = Literal["worse", "unsure", "note"]
"""``worse`` gives exit code 1, ``unsure`` (not comparable) 4; a ``note`` changes no exit code."""

ANSWERS = {0: "no worse", 1: "worse", 4: "cannot say"}
"""A check's answers by exit code."""


@dataclass(frozen=True)
class Tolerances:
    """The size from which a difference counts; each baseline has its tolerances.

    Attributes:
        attack: allowed change of a mean, relative to the distance of floor and ceiling.
        record: allowed change of one record's score, relative to the distance of floor and ceiling.
        utility: allowed fall of utility, relative to the baseline.
        alpha: probability of any false finding about attacks, given these seeds.
        processor: measured differences between processors.

    Raises:
        RequestError: a number is not finite or out of range.
    """

    attack: float = 0.01
    record: float = 0.1
    utility: float = 0.05
    alpha: float = 0.05
    processor: ProcessorTolerance = field(default_factory=measured_tolerance)

    def __post_init__(self) -> None:
        for name in ("attack", "record", "utility"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0.0 <= value < 1.0):
                raise RequestError(f"the {name} tolerance must be from 0 to below 1, got {value:g}")
        if not 0.0 < self.alpha <= 0.5:
            raise RequestError(f"alpha must be above 0 and at most 0.5, got {self.alpha:g}")


@dataclass(frozen=True)
class Finding:
    """A sentence about one subject of a check.

    Attributes:
        kind: one of ``attack-stronger``, ``records-exposed``, ``attack-weaker``, ``attack-blind``,
            ``utility-fell``, ``state``, ``missing``, ``new``, ``measure``, ``controls``,
            ``not-run``, ``stale``, ``processor``, ``versions``.
        subject: the attack, defence or model.
        sentence: what was found.
        level: how the finding counts.
    """

    kind: str
    subject: str
    sentence: str
    level: Level = "worse"

    @property
    def fails(self) -> bool:
        """Return whether the finding keeps the check from exit code 0."""
        return self.level != "note"


@dataclass(frozen=True)
class Scope:
    """The suite and the baseline of a check.

    Attributes:
        suite: name of the suite.
        cells: number of cells of the suite.
        cells_found: number of these cells that the ledger has.
        cells_left_out: number of other cells in the ledger.
        baseline: path of the baseline.
        baseline_cells: number of cells of the baseline.
    """

    suite: str
    cells: int
    cells_found: int
    cells_left_out: int
    baseline: str
    baseline_cells: int


@dataclass(frozen=True)
class Verdict:
    """The result of a check.

    Attributes:
        subjects: attacks on defences, and trained models, of either side.
        compared: the subjects with numbers on both sides.
        findings: the findings on the subjects.
        scope: the suite and the baseline; None where they are unknown.
    """

    subjects: tuple[str, ...]
    compared: tuple[str, ...]
    findings: tuple[Finding, ...]
    scope: Scope | None = None

    @property
    def failures(self) -> list[Finding]:
        """Return the findings that keep the check from exit code 0."""
        return [finding for finding in self.findings if finding.fails]

    @property
    def exit_code(self) -> int:
        """Return 1 if anything got worse, else 4 if anything could not be compared, else 0."""
        levels = {finding.level for finding in self.findings}
        if "worse" in levels:
            return 1
        return 4 if "unsure" in levels or not self.compared else 0

    @property
    def answer(self) -> str:
        """Return ``no worse``, ``worse`` or ``cannot say``."""
        return ANSWERS[self.exit_code]
