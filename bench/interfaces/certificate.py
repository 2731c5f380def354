"""Certificates: scores that an attack must reach where it is known to work."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.interfaces.threat import ThreatModel

MISSED = "certificate-missed"
"""Flag of rows whose attack missed its certificate; such a row is no evidence for a defence."""


@dataclass(frozen=True)
class Certificate:
    """A score that an attack must reach on a victim without a defence.

    The run uses the attack's default parameters and at least its default budget.

    Attributes:
        victim: name of the victim.
        protocol: protocol of the victim.
        target: what the attack claims, such as ``"image"``.
        metric: name of the metric; its mean is put between its controls (0 floor, 1 ceiling).
        at_least: the smallest normalized mean that passes.
        given: parameters of the victim for which the score is proven, by name; other parameters may
            have any value.
        threat: the attacker; by default the honest server that sees every channel.
    """

    victim: str
    protocol: str
    target: str
    metric: str
    at_least: float
    given: tuple[tuple[str, object], ...] = ()
    threat: ThreatModel = field(default_factory=ThreatModel)

    def __str__(self) -> str:
        given = "".join(f", {name}={value}" for name, value in self.given)
        return f"{self.target} {self.metric} normalized >= {self.at_least:g}{given}"
