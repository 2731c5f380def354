"""Images that an attack claims or that a control gives."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.types.images import ImageBatch


@dataclass(frozen=True, eq=False)
class Estimate:
    """Images together with the latents from which they were decoded.

    Attributes:
        images: ``(N, 3, H, W)`` float32 in [0, 1].
        latents: ``(N, 4, h, w)``, or None where they are not known.
    """

    images: ImageBatch
    latents: Tensor | None = None
