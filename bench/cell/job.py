"""A job: a cell with the objects that it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.data.splits import Splits
from bench.interfaces.attack import Attack
from bench.interfaces.backbone import BackboneSet
from bench.interfaces.defense import Defense
from bench.interfaces.metric import Metric
from bench.interfaces.victim import Victim
from bench.scoring.control_cache import ControlCache
from bench.settings.cell import CellSpec
from bench.types.gallery import Gallery


@dataclass(frozen=True, eq=False)
class Job:
    """A cell with the objects that it needs.

    Attributes:
        splits: the records, divided into their parts.
        new_victim, new_defense: make objects that share no state, so that the attacker's victim and
            defence hold nothing of those that trained.
        new_gallery: returns photographs of at least so many people, the private people among them;
            None where the data set has no gallery.
        references: controls that other jobs of this planner have made.
        obstacle: why the parts of the cell cannot be put together; empty where they can.
    """

    cell: CellSpec
    splits: Splits
    attack: Attack
    metrics: tuple[Metric, ...]
    backbones: BackboneSet
    new_victim: Callable[[], Victim]
    new_defense: Callable[[], Defense]
    new_gallery: Callable[[int], Gallery | None]
    control_cache: ControlCache
    obstacle: str = ""
