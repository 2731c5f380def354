"""What a check tolerates, and what it says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerances:
    """When a difference counts.

    Attributes:
        attack: share of the way from floor to ceiling below which nothing counts: float noise of another
            machine, which training makes larger.
        utility: the same for utility, relative to the baseline.
        alpha: chance of any false finding about attacks, on these seeds.
    """

    attack: float = 0.01
    utility: float = 0.05
    alpha: float = 0.05


@dataclass(frozen=True)
class Finding:
    """One sentence. ``kind`` is one of ``missing``, ``new``, ``state``, ``attack-stronger``, ``attack-weaker``,
    ``utility-fell``; ``fails`` tells a regression from a remark."""

    kind: str
    subject: str
    sentence: str
    fails: bool = True


@dataclass(frozen=True)
class Verdict:
    """Everything compared, and what was found."""

    subjects: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> list[Finding]:
        """The findings that make the check fail."""
        return [finding for finding in self.findings if finding.fails]
