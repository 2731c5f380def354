"""The public UNet as an attacker's prior over image latents."""

from __future__ import annotations

from torch import Tensor

from bench.public import Denoiser
from victims.stable_diffusion import StableDiffusion


class UNetDenoiser(Denoiser):
    """The frozen UNet of the public model, without any ControlNet."""

    def __init__(self, model: StableDiffusion) -> None:
        self._unet = model.unet
        self._empty = model.embed([""])

    def predict(self, noisy: Tensor, timesteps: Tensor, states: Tensor | None = None) -> Tensor:
        device = self._empty.device
        if states is None:
            states = self._empty.expand(len(noisy), -1, -1)
        prediction: Tensor = self._unet(noisy.to(device), timesteps.to(device), states.to(device)).sample
        return prediction
