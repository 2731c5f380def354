"""A Gaussian over latents in the place of a diffusion model: of what the public model was never taught."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attacks.common.denoising import Prior
from attacks.common.spectral_prior import Spectrum
from bench.interfaces import Denoiser, NoiseSchedule, Public

EXAMPLES = 128
"""Auxiliary conditions at most that the spectrum is estimated from."""


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


def condition_prior(public: Public) -> Prior:
    """Return a Gaussian prior of condition latents with the spectrum of the auxiliary conditions."""
    records = public.auxiliary.select(range(min(EXAMPLES, len(public.auxiliary))))
    latents = public.codec.encode(records.condition_batch()).float().cpu()
    return Prior(GaussianDenoiser(Spectrum.fit(latents), public.schedule), public.schedule)
