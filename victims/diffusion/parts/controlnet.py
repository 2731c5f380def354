"""The control network: built from a UNet, cut at its stem, and joined again.

All networks are diffusers classes. A server half is a network whose ``conv_in`` is the identity: it
takes the stem's output as its sample, so its forward pass is that of the library.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bench.interfaces.public_forward import CONDITION, CONDITION_LATENTS
from victims.stable_diffusion.model import StableDiffusion

from diffusers import ControlNetModel  # isort: skip  (after the torchvision guard)

_HINT_CHANNELS = (16, 32, 96, 256)
"""Channels of the hint block in Stable Diffusion's ControlNet; each step halves the size."""


def new_controlnet(model: StableDiffusion, seed: int) -> Any:
    """Return a ControlNet initialised from the UNet's encoder, with zero output convolutions.

    The hint block halves the size as often as the autoencoder, so that hint and latent have equal
    sizes. Its initial weights come from ``seed`` and are public, as in ``control_sd15_ini``.
    """
    channels = _HINT_CHANNELS[: int(math.log2(model.factor)) + 1]
    # Weights are drawn on the CPU whatever the device, so that all machines get identical weights.
    where = "meta" if model.device == "meta" else "cpu"
    with torch.random.fork_rng(devices=[]), torch.device(where):
        torch.manual_seed(seed)
        net = ControlNetModel.from_unet(model.unet, conditioning_embedding_out_channels=channels)
    return net.requires_grad_(True).to(model.device)


class NoHint(nn.Module):
    """Replaces a hint block that is elsewhere or unused, and adds zero to the stem."""

    def forward(self, conditioning: Tensor) -> Tensor:
        return torch.zeros((), dtype=conditioning.dtype, device=conditioning.device)


class HintStem(nn.Module):
    """Computes h_ctrl = convin_ctrl(x_t) + HB(c) on the client.

    The stem is trainable. The condition enters as pixels in [0, 1].
    """

    takes = CONDITION

    def __init__(self, controlnet: Any) -> None:
        super().__init__()
        self.conv_in = copy.deepcopy(controlnet.conv_in)
        self.hint = copy.deepcopy(controlnet.controlnet_cond_embedding)

    def forward(self, noisy: Tensor, condition: Tensor, condition_latents: Tensor) -> Tensor:
        """Return h_ctrl ``(B, C, h, w)`` of x_t ``(B, 4, h, w)`` and pixels ``(B, 3, H, W)``."""
        features: Tensor = self.conv_in(noisy) + self.hint(condition)
        return features

    @staticmethod
    def server_part(controlnet: Any) -> Any:
        """Return the ControlNet behind this stem."""
        net = copy.deepcopy(controlnet)
        net.conv_in, net.controlnet_cond_embedding = nn.Identity(), NoHint()
        return net

    def join(self, server_net: Any) -> Any:
        """Return the whole ControlNet of this stem and the server's part."""
        net = copy.deepcopy(server_net)
        net.conv_in = copy.deepcopy(self.conv_in)
        net.controlnet_cond_embedding = copy.deepcopy(self.hint)
        return net


class LatentStem(nn.Module):
    """Computes h_ctrl = z_c + x_t on the client (arXiv:2409.08503).

    The stem has nothing to train; the condition passes through the frozen autoencoder. The paper's
    activation is a defence here.
    """

    takes = CONDITION_LATENTS

    def __init__(self, controlnet: Any) -> None:
        super().__init__()
        # The hint block is unused, but is kept so that the network has the standard layout.
        self._unused_hint = copy.deepcopy(controlnet.controlnet_cond_embedding).requires_grad_(
            False
        )

    def forward(self, noisy: Tensor, condition: Tensor, condition_latents: Tensor) -> Tensor:
        """Return h_ctrl ``(B, 4, h, w)`` of x_t and z_c, each ``(B, 4, h, w)``."""
        return condition_latents + noisy

    @staticmethod
    def server_part(controlnet: Any) -> Any:
        """Return the ControlNet without its hint block; the server trains its ``conv_in``."""
        net = copy.deepcopy(controlnet)
        net.controlnet_cond_embedding = NoHint()
        return net

    def join(self, server_net: Any) -> Any:
        """Return the whole ControlNet."""
        net = copy.deepcopy(server_net)
        net.controlnet_cond_embedding = copy.deepcopy(self._unused_hint)
        return net


STEMS: dict[str, type[HintStem] | type[LatentStem]] = {"hint": HintStem, "latent": LatentStem}


def headless_unet(model: StableDiffusion) -> Any:
    """Return the frozen UNet behind its ``conv_in``, as the server holds it."""
    stem, model.unet.conv_in = model.unet.conv_in, nn.Identity()
    try:
        return copy.deepcopy(model.unet)
    finally:
        model.unet.conv_in = stem


def identity_conv(channels: int) -> nn.Conv2d:
    """Return an identity convolution, the public stem where x_t itself crosses the wire."""
    conv = nn.Conv2d(channels, channels, 1, bias=False).requires_grad_(False)
    nn.init.dirac_(conv.weight)
    return conv


def server_unet(model: StableDiffusion, whole: bool) -> Any:
    """Return the server's frozen UNet: ``whole`` where x_t itself crosses the wire."""
    return copy.deepcopy(model.unet) if whole else headless_unet(model)


def predict(
    unet: Any,
    controlnet: Any,
    unet_input: Tensor,
    control_input: Tensor,
    t: Tensor,
    prompt: Mapping[str, Any],
    control_prompt: Mapping[str, Any],
    scale: float = 1.0,
) -> Tensor:
    """Return the network's output, ``(B, 4, h, w)``.

    Args:
        unet: the UNet, whole or behind its ``conv_in``.
        controlnet: the ControlNet, whole or behind its stem.
        unet_input: the sample that ``unet`` takes.
        control_input: the sample that ``controlnet`` takes.
        t: the timestep of each record, ``(B,)``.
        prompt: the UNet's prompt arguments, ``PromptCode.arguments``.
        control_prompt: the control network's prompt arguments; on the paper's wire they differ from
            the UNet's at inference.
        scale: weight of the control residuals.
    """
    down, mid = controlnet(
        control_input,
        t,
        controlnet_cond=control_input,
        conditioning_scale=scale,
        return_dict=False,
        **control_prompt,
    )
    return _unet_output(unet, unet_input, t, prompt, down, mid)


def predict_undivided(
    model: StableDiffusion,
    controlnet: Any,
    noisy: Tensor,
    t: Tensor,
    prompt: Mapping[str, Any],
    hint: Tensor,
) -> Tensor:
    """Return the output of an uncut ControlNet and UNet, ``(B, 4, h, w)``.

    Args:
        model: the public model.
        controlnet: the whole ControlNet.
        noisy: x_t, ``(B, 4, h, w)``.
        t: the timestep of each record, ``(B,)``.
        prompt: the prompt arguments of both networks, ``PromptCode.arguments``.
        hint: the condition ``(B, 3, H, W)`` in [0, 1].
    """
    down, mid = controlnet(noisy, t, controlnet_cond=hint, return_dict=False, **prompt)
    return _unet_output(model.unet, noisy, t, prompt, down, mid)


def _unet_output(
    unet: Any, sample: Tensor, t: Tensor, prompt: Mapping[str, Any], down: Any, mid: Tensor
) -> Tensor:
    output: Tensor = unet(
        sample,
        t,
        **prompt,
        down_block_additional_residuals=down,
        mid_block_additional_residual=mid,
        return_dict=False,
    )[0]
    return output
