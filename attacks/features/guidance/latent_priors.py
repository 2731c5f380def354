"""Gaussian priors of latents that the public diffusion model has not been trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from attacks.common.denoising import DiffusionPrior
from attacks.common.spectral_prior import Spectrum
from attacks.common.wire_algebra import pooled_prompts, prompt_states
from bench.interfaces import Denoiser, NoiseSchedule, Public, View

EXAMPLES = 128
"""Auxiliary conditions at most that the spectrum is estimated from."""


@dataclass(frozen=True, eq=False)
class GaussianDenoiser(Denoiser):
    """The exact denoiser of Gaussian latents: Wiener's filter at each level.

    Attributes:
        spectrum: mean map and power spectrum of the latents.
        schedule: the noising process.
    """

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


def image_prior(view: View, denoiser: Denoiser) -> DiffusionPrior:
    """Return the public model as the prior of image latents, with the prompts in view."""
    return DiffusionPrior(denoiser, view.public.schedule, prompt_states(view), pooled_prompts(view))


def condition_prior(
    public: Public, denoiser: Denoiser, kind: Literal["spectrum", "denoiser"]
) -> DiffusionPrior:
    """Return the prior of condition latents.

    Args:
        public: what the attacker knows besides the wire.
        denoiser: the public model.
        kind: ``spectrum`` is a Gaussian with the power spectrum of the auxiliary conditions, where
            there are two or more; ``denoiser`` is the public model.
    """
    if kind == "denoiser" or len(public.auxiliary) < 2:
        return DiffusionPrior(denoiser, public.schedule)
    records = public.auxiliary.select(range(min(EXAMPLES, len(public.auxiliary))))
    latents = public.codec.encode(records.condition_batch()).float().cpu()
    return DiffusionPrior(GaussianDenoiser(Spectrum.fit(latents), public.schedule), public.schedule)
