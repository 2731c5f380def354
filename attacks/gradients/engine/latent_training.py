"""A client's training as a function of what a generator makes pictures from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.interfaces import Denoiser, Estimate, NoiseSchedule, PublicTrainer, Records, Unknown


@dataclass(frozen=True)
class Ddim:
    """Deterministic, differentiable DDIM steps (Song et al., arXiv:2010.02502, equation 12).

    Attributes:
        denoiser: the public diffusion model.
        schedule: its noising process.
        steps: of the chain, evenly spaced from the last timestep. Each costs one pass of the
            denoiser, and its memory, for every slope.
    """

    denoiser: Denoiser
    schedule: NoiseSchedule
    steps: int

    def __call__(self, latent: Tensor) -> Tensor:
        """Return z0 ``(B, 4, h, w)`` of x_T, which is first scaled to a standard normal's length.

        The denoiser has not been trained away from that sphere, and the first step would multiply
        any error there by 1 / a_T.
        """
        last = self.schedule.steps - 1
        times = [round(last * (1 - i / self.steps)) for i in range(self.steps)]
        here = latent * latent.square().mean((1, 2, 3), keepdim=True).add(1e-12).rsqrt()
        for i, time in enumerate(times):
            t = torch.full((len(latent),), time, device=latent.device)
            # The fused kernel has no batching rule and is slower under vmap.
            with sdpa_kernel(SDPBackend.MATH):
                output = self.denoiser.predict(here, t)
            clean = self.schedule.clean(here, output, t)
            if i + 1 == self.steps:
                return clean
            noise = self.schedule.noise_in(here, output, t)
            here = self.schedule.add_noise(clean, noise, torch.full_like(t, times[i + 1]))
        return here


class LatentTraining(PublicTrainer):
    """A client's training in which a generator makes one input from a tensor of its shape."""

    def __init__(
        self, inner: PublicTrainer, name: str, generate: Callable[[Tensor], Tensor]
    ) -> None:
        self.local, self.behind_noise = inner.local, inner.behind_noise
        self._inner, self._name, self._generate = inner, name, generate

    def generated(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the inputs of the client's training."""
        return {**inputs, self._name: self._generate(inputs[self._name])}

    def unknowns(self) -> Mapping[str, Unknown]:
        return self._inner.unknowns()

    def inputs(self, records: Records) -> Mapping[str, Tensor]:
        return self._inner.inputs(records)

    def gradient(
        self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return self._inner.gradient(weights, self.generated(inputs))

    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        return self._inner.estimates(self.generated(inputs))
