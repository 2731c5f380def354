"""Latents behind a client's features: how each enters the client, and how it is read back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from attacks.features.search.coordinates import Space
from bench.interfaces import Codec, ImageBatch, NoiseSchedule


class UnknownLatent(Protocol):
    """One latent of each record."""

    @property
    def name(self) -> str:
        """Name of the client's input that the latent is behind."""

    def forward(self, latents: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean ``(N, *shape)`` and variance ``(N, 1, 1, 1)`` of the client's input.

        Args:
            latents: mean of the latent, ``(N, 4, h, w)``.
            variance: of each number of the latent, ``(N,)``.
        """

    def back(self, latents: Tensor, variance: Tensor, solution: Tensor) -> Tensor:
        """Return the likeliest latent ``(N, 4, h, w)``.

        Args:
            latents: mean of the latent.
            variance: of each number of the latent, ``(N,)``.
            solution: the input that was found, ``(N, *shape)``.
        """


@dataclass(frozen=True, eq=False)
class NoisyLatent:
    """z0, which the client sends noised; the noise is a nuisance that is integrated out.

    The input is x_t = scale z0 + offset + an error.

    Attributes:
        name: of the input.
        scale: ``(N, 1, 1, 1)``.
        offset: ``(N, 4, h, w)``.
        spread: variance of the error, ``(N, 1, 1, 1)``.
    """

    name: str
    scale: Tensor
    offset: Tensor
    spread: Tensor

    @classmethod
    def from_schedule(
        cls,
        name: str,
        shape: tuple[int, ...],
        times: Tensor,
        schedule: NoiseSchedule,
        target: Tensor | None,
        variance: float,
    ) -> NoisyLatent:
        """Return the latent for a client whose eps is standard normal, or measured by the target.

        Args:
            name: of the input.
            shape: of x_t, ``(N, 4, h, w)``.
            times: t, ``(N,)``.
            schedule: the noising process.
            target: what the network must predict, ``(N, 4, h, w)``, or None.
            variance: of the target's error.
        """
        a, b = schedule.signal(times), schedule.noise(times)
        if target is None:
            return cls(name, a, torch.zeros(shape), b.square())
        if schedule.prediction == "epsilon":  # a Gaussian prior of eps beside a measurement of it
            return cls(
                name, a, b * target / (1 + variance), b.square() * (variance / (1 + variance))
            )
        return cls(name, 1 / a, b * target / a, (b / a).square() * variance)  # eps = (v + b z0) / a

    def forward(self, latents: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        return self.scale * latents + self.offset, self.scale.square() * _wide(
            variance
        ) + self.spread

    def back(self, latents: Tensor, variance: Tensor, solution: Tensor) -> Tensor:
        mean, spread = self.forward(latents, variance)
        return latents + self.scale * _wide(variance) / spread.clamp_min(1e-12) * (solution - mean)


@dataclass(frozen=True)
class DirectLatent:
    """z_c, which enters the client unchanged."""

    name: str

    def forward(self, latents: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        return latents, _wide(variance)

    def back(self, latents: Tensor, variance: Tensor, solution: Tensor) -> Tensor:
        return solution


@dataclass(frozen=True, eq=False)
class PictureLatent:
    """z_c of a client that takes the picture itself, which is searched for in pixels.

    The latent is decoded before the search and the solution is encoded after it. So no slope has to
    pass the autoencoder, which costs more than the denoiser.

    Attributes:
        name: of the input.
        codec: the public autoencoder.
        space: coordinates of the picture.
        contrast: variance of a pixel for variance 1 of a latent's number.
    """

    name: str
    codec: Codec
    space: Space
    contrast: float

    @torch.no_grad()
    def forward(self, latents: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        pixels = self.codec.decode(latents).pixels.cpu()
        point = pixels.mean(1, keepdim=True) if self.space.shape[0] == 1 else pixels
        return point, self.contrast * _wide(variance)

    @torch.no_grad()
    def back(self, latents: Tensor, variance: Tensor, solution: Tensor) -> Tensor:
        return self.codec.encode(ImageBatch.clamped(self.space.input(solution))).float().cpu()


def _wide(per_record: Tensor) -> Tensor:
    return per_record.float().view(-1, 1, 1, 1)
