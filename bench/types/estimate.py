"""Pictures that an attack claims or that a control gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from bench.types.images import ImageBatch

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, eq=False)
class Estimate:
    """Pictures with, where known, the latents they were decoded from."""

    images: ImageBatch
    latents: Tensor | None = None
