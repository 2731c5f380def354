"""What a check tolerates, and what it says."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from bench.reports.processor_tolerance import ProcessorTolerance, measured_tolerance
from bench.util.errors import RequestError

Level = Literal["worse", "unsure", "note"]
"""``worse`` ends a check in 1 and ``unsure`` (it could not be compared) in 4; a ``note`` changes nothing."""

ANSWERS = {0: "no worse", 1: "worse", 4: "cannot say"}
"""A check's answers by exit code."""


@dataclass(frozen=True)
class Tolerances:
    """When a difference counts. A baseline holds the tolerances that it is checked with.

    Attributes:
        attack: share of the way from floor to ceiling below which a change of the mean does not
            count.
        record: the same for the score of a single record.
        utility: the same for utility, relative to the baseline.
        alpha: chance of any false finding about attacks, on these seeds.
        processor: how far numbers were seen to lie apart on two processors.

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
    """One sentence about one subject.

    Attributes:
        kind: one of ``attack-stronger``, ``records-exposed``, ``attack-weaker``, ``attack-blind``,
            ``utility-fell``, ``state``, ``missing``, ``new``, ``measure``, ``controls``,
            ``not-run``, ``stale``, ``processor``, ``versions``.
    """

    kind: str
    subject: str
    sentence: str
    level: Level = "worse"

    @property
    def fails(self) -> bool:
        """Whether it keeps the check from ending in 0."""
        return self.level != "note"


@dataclass(frozen=True)
class Scope:
    """What was held against what.

    Attributes:
        asked: how many cells the suite asks for; found: how many of them have rows of its present
            state.
        left_out: how many other cells of the ledger were left out.
        cells: of the baseline.
    """

    suite: str
    asked: int
    found: int
    left_out: int
    baseline: str
    cells: int


@dataclass(frozen=True)
class Verdict:
    """Everything that stands on either side, what of it was compared, and what was found.

    Attributes:
        subjects: attacks on defences, and trained models.
        compared: those of which numbers of both sides were held against each other.
    """

    subjects: tuple[str, ...]
    compared: tuple[str, ...]
    findings: tuple[Finding, ...]
    scope: Scope | None = None

    @property
    def failures(self) -> list[Finding]:
        """The findings that keep the check from ending in 0."""
        return [finding for finding in self.findings if finding.fails]

    @property
    def exit_code(self) -> int:
        """1 if anything got worse; else 4 if anything, or everything, could not be compared; else 0."""
        levels = {finding.level for finding in self.findings}
        if "worse" in levels:
            return 1
        return 4 if "unsure" in levels or not self.compared else 0

    @property
    def answer(self) -> str:
        """``no worse``, ``worse`` or ``cannot say``."""
        return ANSWERS[self.exit_code]
