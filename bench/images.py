"""The one picture type that crosses every seam."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.errors import BenchError


class ImageRangeError(BenchError, ValueError):
    """A tensor that claims to be images has the wrong shape, type or range."""


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """RGB images.

    Attributes:
        pixels: ``(N, 3, H, W)`` float32 in [0, 1].

    Raises:
        ImageRangeError: wrong rank, channel count, dtype, a non-finite value or a value outside [0, 1].
    """

    pixels: Tensor

    def __post_init__(self) -> None:
        p = self.pixels
        if p.ndim != 4 or p.shape[1] != 3:
            raise ImageRangeError(f"images must be (N, 3, H, W), got {tuple(p.shape)}")
        if p.dtype != torch.float32:
            raise ImageRangeError(f"images must be float32, got {p.dtype}")
        if p.numel():
            low, high = float(p.min()), float(p.max())
            # A comparison with NaN is false, so non-finite values fail here too.
            if not (low >= 0.0 and high <= 1.0):
                raise ImageRangeError(f"images must lie in [0, 1], got [{low:.4g}, {high:.4g}]")

    @classmethod
    def clamped(cls, pixels: Tensor) -> ImageBatch:
        """Images from a tensor that may overshoot [0, 1], as decoders do; NaN becomes mid-grey."""
        return cls(torch.nan_to_num(pixels.detach().float(), nan=0.5).clamp(0.0, 1.0))

    @classmethod
    def from_signed(cls, pixels: Tensor) -> ImageBatch:
        """Images from ``(N, 3, H, W)`` in [-1, 1] (clamped), as diffusion models put them out."""
        return cls.clamped((pixels.detach().float() + 1.0) / 2.0)

    @classmethod
    def from_uint8(cls, pixels: Tensor) -> ImageBatch:
        """Images from ``(N, 3, H, W)`` uint8 in 0..255."""
        if pixels.dtype != torch.uint8:
            raise ImageRangeError(f"expected uint8 images, got {pixels.dtype}")
        return cls(pixels.float() / 255.0)

    @classmethod
    def cat(cls, batches: list[ImageBatch]) -> ImageBatch:
        """Several batches of one size, one after the other."""
        return cls(torch.cat([b.pixels for b in batches]))

    def signed(self) -> Tensor:
        """``(N, 3, H, W)`` float32 in [-1, 1]."""
        return self.pixels * 2.0 - 1.0

    def uint8(self) -> Tensor:
        """``(N, 3, H, W)`` uint8 in 0..255, rounded to nearest."""
        return (self.pixels * 255.0).round().to(torch.uint8)

    def to(self, device: torch.device | str) -> ImageBatch:
        """The same images on another device."""
        return ImageBatch(self.pixels.to(device))

    def take(self, index: Tensor | list[int] | slice) -> ImageBatch:
        """The images at ``index``."""
        return ImageBatch(self.pixels[index])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[3])

    def __len__(self) -> int:
        return int(self.pixels.shape[0])
