"""The networks of the embedded backbone: an image and a text tower of about a million weights."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.backbones.portrait_attributes import WIDTHS as ATTRIBUTE_WIDTHS

SIDE = 64
"""Pixels to which every picture is resized."""
WIDTHS = (32, 64, 96, 160)
"""Channels at 32x32, 16x16, 8x8 and 4x4."""
BUCKETS = 4096
MAX_WORDS = 32
EMBEDDING = 128
FEATURES = 64

_PAD, _START, _RESERVED = 0, 1, 2
_WORD = re.compile(r"[a-z0-9]+")


def tokens(prompts: Sequence[str]) -> Tensor:
    """Return hashed words, ``(N, L)`` int64 with L <= 32, padded with 0; equal on every machine.

    A hash in place of a vocabulary needs no file and has no unknown words; different words may
    collide.
    """
    rows = [
        [
            _START,
            *(
                _RESERVED + zlib.crc32(w.encode()) % (BUCKETS - _RESERVED)
                for w in _WORD.findall(p.lower())
            ),
        ]
        for p in prompts
    ]
    length = min(MAX_WORDS, max((len(r) for r in rows), default=1))
    table = torch.full((len(rows), length), _PAD, dtype=torch.long)
    for i, row in enumerate(rows):
        table[i, : min(len(row), length)] = torch.tensor(row[:length])
    return table


def to_input_size(pixels: Tensor) -> Tensor:
    """Return images of any size at ``(N, 3, 64, 64)``, antialiased where it shrinks them."""
    if pixels.shape[-2:] == (SIDE, SIDE):
        return pixels
    small = functional.interpolate(
        pixels, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False
    )
    return small.clamp(0.0, 1.0)


class _ResidualBlock(nn.Module):
    """Pre-activation residual block (He et al. 2016, arXiv:1603.05027) with group normalization."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.norm1, self.norm2 = nn.GroupNorm(8, inputs), nn.GroupNorm(8, outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = (
            nn.Identity()
            if stride == 1
            else nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps ``(N, outputs, h, w)``, of half the side where the width changes."""
        h: Tensor = self.conv1(functional.silu(self.norm1(x)))
        h = self.conv2(functional.silu(self.norm2(h)))
        skip: Tensor = self.skip(x)
        return skip + h


class ImageTower(nn.Module):
    """A small residual network over 64x64 images.

    It normalizes each picture separately, so that no record affects another.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 4, 2, padding=1)
        inputs = (WIDTHS[0], *WIDTHS[:-1])
        self.stages = nn.ModuleList(
            _ResidualBlock(a, b) for a, b in zip(inputs, WIDTHS, strict=True)
        )
        self.norm = nn.GroupNorm(8, WIDTHS[-1])
        self.mix = nn.Linear(WIDTHS[-1] * 16, 2 * EMBEDDING)
        self.mix_person = nn.Linear(WIDTHS[-1] * 16, 2 * EMBEDDING)
        self.identity = nn.Linear(2 * EMBEDDING, EMBEDDING)
        self.prompt = nn.Linear(2 * EMBEDDING, EMBEDDING)
        self.labels = nn.Linear(2 * EMBEDDING, sum(ATTRIBUTE_WIDTHS))

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Return feature maps ``(N, WIDTHS[i], 32 / 2**i, 32 / 2**i)`` of pixels in [0, 1]."""
        x: Tensor = self.stem(to_input_size(pixels) * 4.0 - 2.0)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def hidden(self, last: Tensor) -> Tensor:
        """Return the input of the prompt and attribute heads, ``(N, 256)``, from the last map."""
        mixed: Tensor = self.mix(functional.silu(self.norm(last)).flatten(1))
        return functional.silu(mixed)

    def person(self, last: Tensor) -> Tensor:
        """Return the identity embedding before it is scaled, ``(N, 128)``, from the last map."""
        mixed: Tensor = self.mix_person(functional.silu(self.norm(last)).flatten(1))
        embedded: Tensor = self.identity(functional.silu(mixed))
        return embedded.float()

    def pictured(self, hidden: Tensor) -> Tensor:
        """Return unit-length embeddings in the space of the prompts, ``(N, 128)``."""
        return functional.normalize(self.prompt(hidden).float(), dim=1)

    def attributes(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """Return logits of each attribute, ``(N, classes)``, from the hidden layer."""
        return torch.split(self.labels(hidden).float(), list(ATTRIBUTE_WIDTHS), dim=1)


class TextTower(nn.Module):
    """A two-layer transformer over hashed words."""

    def __init__(self, width: int = EMBEDDING) -> None:
        super().__init__()
        self.words = nn.Embedding(BUCKETS, width)
        self.places = nn.Parameter(torch.randn(MAX_WORDS, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, EMBEDDING)

    def forward(self, words: Tensor) -> Tensor:
        """Return unit-length embeddings, ``(N, 128)``, of hashed words ``(N, L)``."""
        padding = words == _PAD
        states = self.layers(
            self.words(words) + self.places[: words.shape[1]], src_key_padding_mask=padding
        )
        kept = (~padding).unsqueeze(-1).to(states.dtype)
        pooled = (states * kept).sum(dim=1) / kept.sum(dim=1)
        return functional.normalize(self.head(pooled).float(), dim=1)


class Towers(nn.Module):
    """Both towers, with the fixed projection from feature maps to distribution features."""

    feature_mean: Tensor
    feature_basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.image = ImageTower()
        self.text = TextTower()
        self.scale = nn.Parameter(torch.tensor(2.5))
        total = 2 * sum(WIDTHS) + 2 * EMBEDDING
        self.register_buffer("feature_mean", torch.zeros(total))
        self.register_buffer("feature_basis", torch.zeros(total, FEATURES))

    def moments(self, maps: list[Tensor]) -> Tensor:
        """Return channel means and deviations at every scale and the hidden layer, ``(N, 960)``.

        Mean and deviation over the positions measure colour, texture and sharpness; the hidden
        layer measures the layout.
        """
        found = [
            stat for m in maps for stat in (m.float().mean(dim=(2, 3)), m.float().std(dim=(2, 3)))
        ]
        return torch.cat([*found, self.image.hidden(maps[-1]).float()], dim=1)

    def features(self, maps: list[Tensor]) -> Tensor:
        """Return scaled principal components of the moments, ``(N, 64)``."""
        return (self.moments(maps) - self.feature_mean) @ self.feature_basis
