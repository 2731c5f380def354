"""The public UNet as an attacker's prior over image latents."""

from __future__ import annotations

from torch import Tensor

from bench.interfaces import Denoiser
from victims.stable_diffusion.model import StableDiffusion
from victims.stable_diffusion.prompt_code import PromptCode


class UNetDenoiser(Denoiser):
    """The frozen UNet of the public model, without any ControlNet."""

    def __init__(self, model: StableDiffusion) -> None:
        self._unet = model.unet
        self._factor, self._device = model.factor, model.device
        self._no_prompt = model.no_prompt()

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        states: Tensor | None = None,
        pooled: Tensor | None = None,
    ) -> Tensor:
        code = self._no_prompt.expand(len(noisy))
        if states is not None:
            code = PromptCode(
                states.to(self._device), code.pooled if pooled is None else pooled.to(self._device)
            )
        height, width = (self._factor * side for side in noisy.shape[-2:])
        noisy, timesteps = noisy.to(self._device), timesteps.to(self._device)
        prediction: Tensor = self._unet(noisy, timesteps, **code.arguments(height, width)).sample
        return prediction
