"""The image type of all interfaces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.util.errors import BenchError


class ImageRangeError(BenchError, ValueError):
    """A tensor that should hold images has the wrong shape, type or range."""


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """A batch of RGB images.

    Attributes:
        pixels: ``(N, 3, H, W)`` float32 in [0, 1].
        broken: which images were made from pixels that were not finite, ``(N,)`` bool; None means
            none of them.

    Raises:
        ImageRangeError: the pixels have another rank, channel count or dtype, or a value that is
            not finite or outside [0, 1].
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
        """Return images from a tensor that may exceed [0, 1], as the output of decoders does.

        A value that is not finite becomes a colour (NaN becomes mid-grey), so that a broken model
        can still be measured, and its image is marked as ``broken``. A claim that holds such images
        is refused.
        """
        values = pixels.detach().float()
        finite = values.isfinite().flatten(1).all(1) if values.ndim > 1 else values.isfinite()
        broken = None if bool(finite.all()) else ~finite
        return cls(torch.nan_to_num(values, nan=0.5).clamp(0.0, 1.0), broken)

    @classmethod
    def from_signed(cls, pixels: Tensor) -> ImageBatch:
        """Return images from ``(N, 3, H, W)`` in [-1, 1], as diffusion models give them.

        Values outside that range are clamped.
        """
        return cls.clamped((pixels.detach().float() + 1.0) / 2.0)

    @classmethod
    def from_uint8(cls, pixels: Tensor) -> ImageBatch:
        """Return images from ``(N, 3, H, W)`` uint8 in 0..255.

        Raises:
            ImageRangeError: the tensor has another dtype.
        """
        if pixels.dtype != torch.uint8:
            raise ImageRangeError(f"expected uint8 images, got {pixels.dtype}")
        return cls(pixels.float() / 255.0)

    @classmethod
    def cat(cls, batches: list[ImageBatch]) -> ImageBatch:
        """Return several batches of one size, concatenated."""
        broken = None
        if any(b.broken is not None for b in batches):
            broken = torch.cat([b._broken_mask() for b in batches])
        return cls(torch.cat([b.pixels for b in batches]), broken)

    def signed(self) -> Tensor:
        """Return the pixels as ``(N, 3, H, W)`` float32 in [-1, 1]."""
        return self.pixels * 2.0 - 1.0

    def uint8(self) -> Tensor:
        """Return the pixels as ``(N, 3, H, W)`` uint8 in 0..255, rounded to nearest."""
        return (self.pixels * 255.0).round().to(torch.uint8)

    def to(self, device: torch.device | str) -> ImageBatch:
        """Return the images on another device."""
        return ImageBatch(
            self.pixels.to(device), None if self.broken is None else self.broken.to(device)
        )

    def take(self, index: Tensor | list[int] | slice) -> ImageBatch:
        """Return the images at ``index``."""
        return ImageBatch(self.pixels[index], None if self.broken is None else self.broken[index])

    def not_finite(self) -> int:
        """Return how many images were made from pixels that were not finite."""
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
