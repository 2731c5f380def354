"""The forward noising process q(x_t | z0) of a diffusion model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.util.errors import RequestError

PREDICTIONS = ("epsilon", "v_prediction")
"""The values of ``NoiseSchedule.prediction``."""


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The process x_t = a_t z0 + b_t eps with a_t = sqrt(abar_t) and b_t = sqrt(1 - abar_t).

    Attributes:
        alphas_cumprod: abar_t, ``(T,)`` float64, strictly decreasing within (0, 1).
        prediction: what the network is trained to predict: ``epsilon`` (SD 1.x, SD 2 base) or
            ``v_prediction``, v = a_t eps - b_t z0 (SD 2; Salimans & Ho, arXiv:2202.00512).

    Raises:
        RequestError: ``alphas_cumprod`` or ``prediction`` is invalid.
    """

    alphas_cumprod: Tensor
    prediction: str = "epsilon"

    def __post_init__(self) -> None:
        abar = self.alphas_cumprod
        if abar.ndim != 1 or len(abar) < 2 or not bool((abar.diff() < 0).all()):
            raise RequestError("noise schedule: alphas_cumprod must be a strictly falling vector")
        if not 0 < float(abar[-1]) < float(abar[0]) < 1:
            raise RequestError(
                "noise schedule: alphas_cumprod must lie between 0 and 1, both excluded; "
                f"it goes from {float(abar[0]):g} to {float(abar[-1]):g}"
            )
        if self.prediction not in PREDICTIONS:
            raise RequestError(
                f"noise schedule: prediction type {self.prediction!r} is not supported; known are "
                f"{' and '.join(PREDICTIONS)}"
            )

    @classmethod
    def stable_diffusion(cls, steps: int = 1000) -> NoiseSchedule:
        """Return the schedule of SD 1.x, beta_i = linspace(sqrt(0.00085), sqrt(0.012), T)^2."""
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, steps, dtype=torch.float64) ** 2
        return cls(torch.cumprod(1.0 - betas, 0))

    @property
    def steps(self) -> int:
        """The number of timesteps, T."""
        return len(self.alphas_cumprod)

    def signal(self, t: Tensor) -> Tensor:
        """Return a_t of each timestep, ``(B, 1, 1, 1)`` float32."""
        return self.alphas_cumprod.to(t.device)[t].sqrt().float().view(-1, 1, 1, 1)

    def noise(self, t: Tensor) -> Tensor:
        """Return b_t of each timestep, ``(B, 1, 1, 1)`` float32."""
        return (1.0 - self.alphas_cumprod.to(t.device)[t]).sqrt().float().view(-1, 1, 1, 1)

    def snr(self, t: Tensor | int) -> Tensor:
        """Return the signal-to-noise ratio abar_t / (1 - abar_t), float64."""
        abar = self.alphas_cumprod[t]
        return abar / (1.0 - abar)

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t, ``(B, 4, h, w)``."""
        return self.signal(t) * latents + self.noise(t) * noise

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return what the network should predict, eps or v, ``(B, 4, h, w)``."""
        if self.prediction == "epsilon":
            return noise
        return self.signal(t) * noise - self.noise(t) * latents

    def clean(self, noisy: Tensor, target: Tensor, t: Tensor) -> Tensor:
        """Return z0 from x_t and the target: (x_t - b eps) / a, or a x_t - b v."""
        if self.prediction == "epsilon":
            return (noisy - self.noise(t) * target) / self.signal(t)
        return self.signal(t) * noisy - self.noise(t) * target

    def noise_in(self, noisy: Tensor, target: Tensor, t: Tensor) -> Tensor:
        """Return eps from x_t and the target: the target itself, or b x_t + a v."""
        if self.prediction == "epsilon":
            return target
        return self.noise(t) * noisy + self.signal(t) * target

    def first_at_or_below_snr(self, snr: float) -> int:
        """Return the smallest t with SNR_t <= ``snr``.

        Raises:
            RequestError: every timestep of the schedule has a higher ratio.
        """
        below = torch.nonzero(self.alphas_cumprod / (1.0 - self.alphas_cumprod) <= snr)
        if len(below) == 0:
            least = float(self.snr(self.steps - 1))
            raise RequestError(
                f"no timestep has SNR <= {snr:g}; the schedule ends at SNR {least:.4g}"
            )
        return int(below[0])
