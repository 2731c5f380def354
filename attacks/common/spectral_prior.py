"""A Gaussian prior over latents: a mean map and a power spectrum of auxiliary records."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attacks.common.own_latents import own_latents

if TYPE_CHECKING:
    from bench.interfaces import Public

_ENOUGH = 128  # records; a ring of the spectrum is a mean over all of them and all its coefficients


@dataclass(frozen=True, eq=False)
class Spectrum:
    """z0 ~ N(mean, C^T diag(variance) C), C the orthonormal 2D DCT-II of each channel.

    Attributes:
        mean: ``(4, h, w)``.
        variance: of each coefficient, ``(4, h, w)``; equal within rings of one spatial frequency.
        spread: standard deviation among records of the logarithm of a record's power over the
            expected: some pictures have more contrast than others at all frequencies.
    """

    mean: Tensor
    variance: Tensor
    spread: float = 0.05

    @classmethod
    def fit(cls, latents: Tensor) -> Spectrum:
        """From at least 2 latents, ``(N, 4, h, w)``."""
        mean = latents.mean(0)
        power = dct(latents - mean).square().mean(0) * len(latents) / (len(latents) - 1)
        rows, columns = (torch.arange(n, dtype=torch.float32) for n in power.shape[1:])
        ring = (rows.view(-1, 1).square() + columns.square()).sqrt().round().long().flatten()
        counts = torch.bincount(ring).clamp_min(1)
        rings = torch.zeros(len(power), len(counts)).index_add_(1, ring, power.flatten(1)) / counts
        variance = rings[:, ring].view_as(power).clamp_min(1e-8)
        relative = (dct(latents - mean).square() / variance).mean((1, 2, 3)).clamp_min(1e-8)
        return cls(mean, variance, max(0.05, float(relative.log().std())))

    @classmethod
    def from_public(cls, public: Public, rng: torch.Generator) -> Spectrum | None:
        """Fit the prior to the attacker's records; None where there are fewer than 2.

        Of draws as a client makes them, where the client can be simulated: they have more power at
        high frequencies than the autoencoder's means.
        """
        count = min(_ENOUGH, len(public.auxiliary))
        if count < 2:
            return None
        records = public.auxiliary.select(range(count))
        if public.client is not None:
            return cls.fit(own_latents(public, count, rng).image_latents.float().cpu())
        return cls.fit(public.codec.encode(records.image_batch()).float().cpu())

    def wiener(self, latents: Tensor, precision: Tensor) -> Tensor:
        """Return the posterior mean of z0 given z0 plus white noise, ``(N, 4, h, w)``.

        Args:
            precision: ``(N,)``.
        """
        gain = self.variance / (self.variance + 1 / precision.float().view(-1, 1, 1, 1))
        return self.mean + inverse_dct(gain * dct(latents - self.mean))


def dct(maps: Tensor) -> Tensor:
    """Orthonormal DCT-II over the last two axes."""
    rows, columns = _basis(maps.shape[-2]).to(maps), _basis(maps.shape[-1]).to(maps)
    return rows @ maps @ columns.T


def inverse_dct(coefficients: Tensor) -> Tensor:
    """Undoes ``dct``."""
    rows, columns = (
        _basis(coefficients.shape[-2]).to(coefficients),
        _basis(coefficients.shape[-1]).to(coefficients),
    )
    return rows.T @ coefficients @ columns


def _basis(size: int) -> Tensor:
    k, n = (
        torch.arange(size, dtype=torch.float64).view(-1, 1),
        torch.arange(size, dtype=torch.float64),
    )
    basis = torch.cos(math.pi * (n + 0.5) * k / size) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis
