"""The network that maps smashed data to latents."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from attacks.learned.parts.simulated_releases import Inputs


class InverseNetwork(nn.Module):
    """Residual convolutions at the latents' size, modulated by the timestep, with two heads.

    Inputs are whitened per channel with statistics of a first batch, so that channels of any scale
    can be used. Maps of another size than the latents are resized.

    Args:
        example: the first batch.
        width: channels.
        depth: residual blocks.
        size: height and width of the latents; None is the size of the maps.
    """

    mean: Tensor
    std: Tensor
    frequencies: Tensor

    def __init__(
        self, example: Inputs, width: int, depth: int, size: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        maps = example.maps
        self.size = size or tuple(maps.shape[2:])
        self.register_buffer("mean", maps.mean((0, 2, 3), keepdim=True))
        std = maps.std((0, 2, 3), keepdim=True)
        # A channel that is constant in the first batch may vary later; it is not scaled up.
        self.register_buffer("std", torch.where(std < 1e-4, torch.ones_like(std), std))
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, -math.log(10_000), 32)))
        self.enter = nn.Conv2d(maps.shape[1], width, 3, padding=1)
        self.time = nn.Sequential(
            nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.blocks = nn.ModuleList(FilmBlock(width) for _ in range(depth))
        self.heads = nn.ModuleList(nn.Conv2d(width, 4, 3, padding=1) for _ in range(2))

    def hidden(self, inputs: Inputs) -> Tensor:
        """Return what the heads read, ``(B, width, h, w)``."""
        x: Tensor = self.enter((inputs.maps - self.mean) / self.std)
        if tuple(x.shape[2:]) != self.size:
            x = nn.functional.interpolate(x, size=self.size, mode="bilinear")
        time = torch.zeros(len(x), device=x.device) if inputs.time is None else inputs.time.float()
        angle = time.unsqueeze(1) * self.frequencies
        context = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        for block in self.blocks:
            x = block(x, context)
        return nn.functional.silu(x)

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return z0 and z_c, each ``(B, 4, h, w)``."""
        x = self.hidden(inputs)
        return self.heads[0](x), self.heads[1](x)


class FilmBlock(nn.Module):
    """Two convolutions, scaled and shifted per channel by the timestep (arXiv:1709.07871)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8 if width % 8 == 0 else 1, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(width, 2 * width)
        # Starting as the identity keeps a deep stack trainable at a high learning rate.
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        scale, shift = self.film(context)[:, :, None, None].chunk(2, 1)
        hidden = self.first(nn.functional.silu(self.norm(x) * (1 + scale) + shift))
        change: Tensor = self.second(nn.functional.silu(hidden))
        return x + change
