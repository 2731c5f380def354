"""A Gaussian over latents in the place of a diffusion model: of what the public model was never taught."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attacks.common.spectral_prior import Spectrum
from bench.interfaces import Denoiser, NoiseSchedule


@dataclass(frozen=True, eq=False)
class GaussianDenoiser(Denoiser):
    """The exact denoiser of latents with a mean map and a power spectrum: Wiener's filter at each level."""

    spectrum: Spectrum
    schedule: NoiseSchedule

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        states: Tensor | None = None,
        pooled: Tensor | None = None,
    ) -> Tensor:
        a, b = self.schedule.signal(timesteps), self.schedule.noise(timesteps)
        clean = self.spectrum.wiener(noisy / a, self.schedule.snr(timesteps))
        if self.schedule.prediction == "epsilon":
            return (noisy - a * clean) / b
        return (a * noisy - clean) / b
