"""Selects the certificate of an attack that a cell has to reach."""

from __future__ import annotations

from bench.interfaces.attack import Attack
from bench.interfaces.certificate import Certificate
from bench.settings.cell import CellSpec


def covers(certificate: Certificate, cell: CellSpec, attack: type[Attack]) -> bool:
    """Return whether ``certificate`` applies to ``cell``.

    It applies where victim, protocol and threat model agree, no defence is used, and the attack has
    its default parameters and at least its default budget.
    """
    capture, spent, default = cell.capture, cell.attack, attack.default_budget
    return (
        (capture.victim.name, capture.protocol) == (certificate.victim, certificate.protocol)
        and all(capture.victim.params.get(name) == value for name, value in certificate.given)
        and [part.name for part in capture.defense] == ["none"]
        and cell.threat == certificate.threat
        and dict(spent.attack.params) == attack.parse({}).model_dump(mode="json")
        and spent.iterations >= default.iterations
        and spent.batch_size >= min(default.batch_size, spent.targets)
    )


def certificate_for(cell: CellSpec, attack: type[Attack], target: str) -> Certificate | None:
    """Return the certificate that the cell's row for ``target`` has to reach, or None."""
    matching = (c for c in attack.certificates if c.target == target and covers(c, cell, attack))
    return next(matching, None)
