"""What a user may ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.data.split_sizes import SplitSizes
from bench.interfaces.dataset import AUTO
from bench.spec.cell import TrainSpec, UtilitySpec


@dataclass(frozen=True)
class Request:
    """What a user may ask for; defaults are those of ``bench run``.

    Attributes:
        protocol: None is the victim's first.
        iterations: None is the attack's own default.
    """

    victim: str = "split-controlnet"
    protocol: str | None = None
    model: str | None = None
    defense: str = "none"
    attack: str = "inversion"
    threat: str = "server"
    withhold: tuple[str, ...] = ()
    data: str = "portraits"
    condition: str = AUTO
    image_size: int = 64
    splits: SplitSizes = field(default_factory=SplitSizes)
    training: TrainSpec = field(default_factory=TrainSpec)
    iterations: int | None = None
    attack_batch_size: int | None = None
    targets: int = 64
    epoch: int = -1
    utility: UtilitySpec = field(default_factory=UtilitySpec)
    seed: int = 0
    device: str = "auto"
    backbones: str = "auto"
    weights_dir: Path | None = None
