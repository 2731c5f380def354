"""The one picture type that crosses every seam."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.util.errors import BenchError


class ImageRangeError(BenchError, ValueError):
    """A tensor that claims to be images has the wrong shape, type or range."""


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """RGB images.

    Attributes:
        pixels: ``(N, 3, H, W)`` float32 in [0, 1].
        broken: which pictures were made from pixels that were not finite, ``(N,)`` bool; None is
            none of them.

    Raises:
        ImageRangeError: wrong rank, channel count, dtype, a non-finite value or a value outside [0,
            1].
    """

    pixels: Tensor
    broken: Tensor | None = None

    def __post_init__(self) -> None:
        p = self.pixels.detach()
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
        """Images from a tensor that may overshoot [0, 1], as decoders do.

        A value that is not finite becomes a colour (NaN mid-grey), so that a broken model can still
        be measured, and its picture is marked as ``broken``; a claim of such pictures is refused.
        """
        shown = pixels.detach().float()
        finite = shown.isfinite().flatten(1).all(1) if shown.ndim > 1 else shown.isfinite()
        broken = None if bool(finite.all()) else ~finite
        return cls(torch.nan_to_num(shown, nan=0.5).clamp(0.0, 1.0), broken)

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
        broken = None
        if any(b.broken is not None for b in batches):
            broken = torch.cat([b._broken_mask() for b in batches])
        return cls(torch.cat([b.pixels for b in batches]), broken)

    def signed(self) -> Tensor:
        """``(N, 3, H, W)`` float32 in [-1, 1]."""
        return self.pixels * 2.0 - 1.0

    def uint8(self) -> Tensor:
        """``(N, 3, H, W)`` uint8 in 0..255, rounded to nearest."""
        return (self.pixels * 255.0).round().to(torch.uint8)

    def to(self, device: torch.device | str) -> ImageBatch:
        """The same images on another device."""
        return ImageBatch(
            self.pixels.to(device), None if self.broken is None else self.broken.to(device)
        )

    def take(self, index: Tensor | list[int] | slice) -> ImageBatch:
        """The images at ``index``."""
        return ImageBatch(self.pixels[index], None if self.broken is None else self.broken[index])

    def not_finite(self) -> int:
        """Return how many pictures were made from pixels that were not finite."""
        return 0 if self.broken is None else int(self.broken.sum())

    def _broken_mask(self) -> Tensor:
        whole = torch.zeros(len(self), dtype=torch.bool, device=self.pixels.device)
        return whole if self.broken is None else self.broken

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[3])

    def __len__(self) -> int:
        return int(self.pixels.shape[0])
