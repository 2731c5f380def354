"""Which certificate a cell is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.interfaces.attack import Attack
    from bench.spec.cell import CellSpec
from bench.interfaces.certificate import Certificate


def due(cell: CellSpec, attack: type[Attack], target: str) -> Certificate | None:
    """The certificate that this cell's row for ``target`` is held to, if any."""
    held = (c for c in attack.certificates if c.target == target and c.covers(cell, attack))
    return next(held, None)
