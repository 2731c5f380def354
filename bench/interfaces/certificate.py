"""Proof that an attack works where it must: a score that its run on a known-invertible victim has to reach."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.interfaces.threat import ThreatModel

MISSED = "certificate-missed"
"""Flag of rows whose attack failed where it must work; it cannot be used to praise a defence."""


@dataclass(frozen=True)
class Certificate:
    """What an attack must reach on an undefended victim.

    Attributes:
        victim, protocol: where; always without a defence, with the attack's own parameters and at
            least its budget.
        target: what is claimed.
        metric: the measure, put between its controls (0 floor, 1 ceiling).
        at_least: what the mean has to reach.
        given: parameters of the victim that it is proven for, by name; others may have any value.
        threat: who attacks; unless told, the honest server, with everything on the wire in view.
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
