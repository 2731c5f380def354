"""Proof that an attack works where it must: a score that its run on a known-invertible victim has to reach."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.interfaces.threat import ThreatModel

if TYPE_CHECKING:
    from bench.interfaces.attack import Attack
    from bench.spec.cell import CellSpec

MISSED = "certificate-missed"
"""Flag of rows whose attack failed where it must work; it cannot be used to praise a defence."""


@dataclass(frozen=True)
class Certificate:
    """What an attack must reach on an undefended victim.

    Attributes:
        victim, protocol: where; always without a defence, with the attack's own parameters and at least its budget.
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

    def covers(self, cell: CellSpec, attack: type[Attack]) -> bool:
        """Whether ``cell`` is a run that the certificate speaks of."""
        capture, spent, own = cell.capture, cell.attack, attack.default_budget
        return (
            (capture.victim.name, capture.protocol) == (self.victim, self.protocol)
            and all(capture.victim.params.get(name) == value for name, value in self.given)
            and [part.name for part in capture.defense] == ["none"]
            and cell.threat == self.threat
            and dict(spent.attack.params) == attack.parse({}).model_dump(mode="json")
            and spent.iterations >= own.iterations
            and spent.batch_size >= min(own.batch_size, spent.targets)
        )

    def __str__(self) -> str:
        given = "".join(f", {name}={value}" for name, value in self.given)
        return f"{self.target} {self.metric} normalised >= {self.at_least:g}{given}"
