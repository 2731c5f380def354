"""Graded distortions, to train the embedded backbone against and to judge any backbone by.

Each takes pixels ``(N, 3, H, W)`` in [0, 1], a strength in [0, 1] for every picture ``(N,)`` and a
generator, and returns pixels of the same shape in [0, 1]. Strength 0 changes nothing; with equal
generator states a greater strength distorts further in the same direction.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

Distortion = Callable[[Tensor, Tensor, Generator], Tensor]


def blur(pixels: Tensor, strength: Tensor, rng: Generator) -> Tensor:
    """Blur by a Gaussian of up to 3 pixels' standard deviation at 64 pixels a side."""
    n, channels, height, width = pixels.shape
    sigma = (3.0 * height / 64.0 * strength).clamp_min(1e-3)
    radius = int(9.0 * height / 64.0)
    offsets = torch.arange(-radius, radius + 1, dtype=pixels.dtype)
    kernel = torch.exp(-offsets.square() / (2.0 * sigma[:, None].square()))
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    x = functional.pad(pixels, (radius,) * 4, mode="replicate").flatten(0, 1)[None]
    x = functional.conv2d(x, kernel[:, None, None, :], groups=n * channels)
    x = functional.conv2d(x, kernel[:, None, :, None], groups=n * channels)
    return x[0].view(n, channels, height, width).clamp(0.0, 1.0)


def noise(pixels: Tensor, strength: Tensor, rng: Generator) -> Tensor:
    """Add white noise of up to 0.3 standard deviation."""
    grain = torch.randn(pixels.shape, generator=rng)
    return (pixels + 0.3 * strength[:, None, None, None] * grain).clamp(0.0, 1.0)


def warp(pixels: Tensor, strength: Tensor, rng: Generator) -> Tensor:
    """Displace pixels smoothly and randomly by up to about a tenth of the picture."""
    n, _, height, width = pixels.shape
    coarse = torch.randn((n, 2, 4, 4), generator=rng).clamp(-2.0, 2.0)
    field = functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    shift: Tensor = 0.1 * strength[:, None, None, None] * field.permute(0, 2, 3, 1)
    return _resample(pixels, shift)


def colour(pixels: Tensor, strength: Tensor, rng: Generator) -> Tensor:
    """Change gain and offset of every channel."""
    gain, offset = torch.rand((2, len(pixels), 3, 1, 1), generator=rng) * 2.0 - 1.0
    s = strength[:, None, None, None]
    changed: Tensor = pixels * (1.0 + 0.6 * s * gain) + 0.25 * s * offset
    return changed.clamp(0.0, 1.0)


def crop(pixels: Tensor, strength: Tensor, rng: Generator) -> Tensor:
    """Enlarge a smaller window to the full size."""
    n, _, height, width = pixels.shape
    where = torch.rand((n, 1, 1, 2), generator=rng) * 2.0 - 1.0
    cut = 0.35 * strength[:, None, None, None]
    return _resample(pixels, cut * (where - _grid(height, width)))


def _grid(height: int, width: int) -> Tensor:
    """Return pixel centres, ``(1, H, W, 2)`` as (x, y) in [-1, 1]."""
    y = (torch.arange(height) + 0.5) * 2.0 / height - 1.0
    x = (torch.arange(width) + 0.5) * 2.0 / width - 1.0
    across: Tensor = x.expand(height, width)
    return torch.stack([across, y[:, None].expand(height, width)], dim=-1)[None]


def _resample(pixels: Tensor, shift: Tensor) -> Tensor:
    """Return pixels read at their place plus ``shift``.

    Args:
        pixels: ``(N, 3, H, W)``.
        shift: ``(N, H, W, 2)`` in units of half the picture.
    """
    grid = _grid(int(pixels.shape[2]), int(pixels.shape[3])) + shift
    moved: Tensor = functional.grid_sample(
        pixels, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return moved.clamp(0.0, 1.0)


DISTORTIONS: dict[str, Distortion] = {
    "blur": blur,
    "noise": noise,
    "warp": warp,
    "colour": colour,
    "crop": crop,
}


def spoil(pixels: Tensor, rng: Generator) -> Tensor:
    """Apply every distortion in turn, each to three pictures in ten and at any strength."""
    for distortion in DISTORTIONS.values():
        chosen = torch.rand(len(pixels), generator=rng) < 0.3
        pixels = distortion(pixels, torch.rand(len(pixels), generator=rng) * chosen, rng)
    return pixels


def augment(pixels: Tensor, rng: Generator, share: float) -> Tensor:
    """Apply mild distortions that keep the content, each to this share of the pictures.

    Warping is left out: it changes the shape of a face, by which people differ.
    """
    for name in ("crop", "blur", "colour", "noise"):
        chosen = torch.rand(len(pixels), generator=rng) < share
        strength = torch.rand(len(pixels), generator=rng).square() * chosen
        pixels = DISTORTIONS[name](pixels, strength, rng)
    return pixels
