"""Parts and depth of a portrait, recorded by the code that paints the picture."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.exact_arrays import block_mean


class PortraitPart(IntEnum):
    """The parts of a portrait."""

    BACKGROUND = 0
    CLOTHES = 1
    NECK = 2
    SKIN = 3
    HAIR = 4
    BEARD = 5
    BROW = 6
    EYE = 7
    MOUTH = 8
    GLASSES = 9
    HAT = 10
    EARRING = 11


PALETTE = np.array(
    [
        (0, 0, 0),
        (0, 96, 224),
        (176, 112, 64),
        (255, 192, 144),
        (128, 32, 160),
        (0, 128, 64),
        (96, 255, 96),
        (255, 255, 255),
        (224, 0, 48),
        (0, 224, 255),
        (255, 160, 0),
        (255, 255, 0),
    ],
    np.uint8,
)
"""Colour of each part."""


@dataclass(frozen=True)
class Maps:
    """Parts and depth of a canvas, or views of a window of it.

    Attributes:
        parts: :class:`PortraitPart` of each pixel, ``(h, w)`` uint8.
        depth: nearness to the camera in [0, 1], ``(h, w)`` float32; relative, without unit.
    """

    parts: NDArray[np.uint8]
    depth: NDArray[np.floating[Any]]

    @classmethod
    def blank(cls, n: int) -> Maps:
        """Return maps that are all background, infinitely far."""
        return cls(np.zeros((n, n), np.uint8), np.zeros((n, n), np.float32))

    def window(self, rows: slice, columns: slice) -> Maps:
        """Return views of a part of the canvas."""
        return Maps(self.parts[rows, columns], self.depth[rows, columns])

    def mark(
        self, mask: NDArray[Any], part: PortraitPart, depth: NDArray[Any] | float | None
    ) -> None:
        """Set part and depth of the pixels that ``mask`` covers by half or more.

        A ``depth`` of None keeps the depth.
        """
        inside = mask >= 0.5
        self.parts[inside] = part
        if depth is not None:
            self.depth[inside] = np.broadcast_to(np.asarray(depth, np.float32), mask.shape)[inside]

    def lift(self, amount: NDArray[Any]) -> None:
        """Bring the surface nearer by ``amount``."""
        np.add(self.depth, amount, out=self.depth)

    def reduced(self, factor: int) -> Maps:
        """Return the maps at ``1 / factor`` of the size: the commonest part and the mean depth."""
        shares = np.stack([block_mean(self.parts == part, factor) for part in PortraitPart])
        return Maps(shares.argmax(axis=0).astype(np.uint8), block_mean(self.depth, factor))

    def segmentation(self) -> NDArray[np.uint8]:
        """Return the parts in colour, ``(h, w, 3)`` uint8."""
        return PALETTE[self.parts]

    def shades(self) -> NDArray[np.uint8]:
        """Return the depth in grey, near is white, ``(h, w)`` uint8."""
        grey: NDArray[np.uint8] = (np.clip(self.depth, 0, 1) * 255 + 0.5).astype(np.uint8)
        return grey
