"""The public client half as a differentiable function of guessed inputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.interfaces import (
    CONTROL_FEATURES,
    UNET_FEATURES,
    Channel,
    Estimate,
    ImageBatch,
    PublicForward,
    Unknown,
)
from bench.interfaces.public_forward import CONDITION, CONDITION_LATENTS, NOISY, TIMESTEPS
from victims.diffusion.parts.client import ClientHalf
from victims.diffusion.parts.controlnet import HintStem, LatentStem


class DiffusionForward(PublicForward):
    """Computes h_sd and h_ctrl of x_t, t and the condition.

    The condition is given as pixels or as z_c, depending on the client's stem. z0 and eps enter
    only through x_t = a_t z0 + b_t eps; the attack must separate them.

    Args:
        client: supplies the frozen parts and the defence.
        stem: the stem, which no other object uses.
        image_size: height and width of the pictures.
    """

    stem: HintStem | LatentStem

    def __init__(self, client: ClientHalf, stem: HintStem | LatentStem, image_size: int) -> None:
        self.stem = stem
        self._client = client
        self._size = image_size

    def inputs(self) -> Mapping[str, Unknown]:
        cells = self._size // self._client.model.factor
        latent = Unknown((4, cells, cells))
        picture = Unknown((3, self._size, self._size), low=0.0, high=1.0)
        return {
            NOISY: latent,
            TIMESTEPS: Unknown((), low=0, high=self._client.model.schedule.steps - 1, integer=True),
            self.stem.takes: picture if self.stem.takes == CONDITION else latent,
        }

    def send(self, inputs: Mapping[str, Tensor], rng: torch.Generator) -> dict[Channel, Tensor]:
        """Return the released tensors of guessed inputs.

        Args:
            inputs: x_t; for h_ctrl also the condition; without t the defence gets t = 0.
            rng: randomness for the defence.
        """
        client = self._client
        noisy = inputs[NOISY]
        count = len(noisy)
        t = inputs.get(TIMESTEPS, torch.zeros(count, dtype=torch.long, device=noisy.device))
        context = client.context("training", t, [""] * count, rng)
        # The stem uses the condition as pixels or as latents, and ignores the other argument.
        condition = inputs.get(self.stem.takes)
        control = client.defense.control_input(noisy, context)
        sent = (
            {}
            if condition is None
            else {CONTROL_FEATURES: self.stem(control, condition, condition)}
        )
        sent[UNET_FEATURES] = (
            noisy if client.defense.sends_latent else client.model.unet.conv_in(noisy)
        )
        return {
            channel: client.defense.surrogate(channel, tensor, context)
            for channel, tensor in sent.items()
            if channel not in client.defense.withheld
        }

    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        model = self._client.model
        if CONDITION in inputs:
            images = ImageBatch.clamped(inputs[CONDITION].cpu())
            return {"condition": Estimate(images, model.encode(images).cpu())}
        if CONDITION_LATENTS in inputs:
            latents = inputs[CONDITION_LATENTS].detach().float()
            return {"condition": Estimate(model.decode(latents), latents.cpu())}
        return {}
