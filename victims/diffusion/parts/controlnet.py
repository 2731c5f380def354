"""The control network: made from a UNet, cut at its stem, and put together again.

Real diffusers classes throughout. A server half is a network whose ``conv_in`` is the identity: it
takes the stem's output as if it were the sample, so its forward pass is the library's own.
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

_HINT_CHANNELS = (16, 32, 96, 256)  # of SD's ControlNet; each pair after the first halves the size


def new_controlnet(model: StableDiffusion, seed: int) -> Any:
    """A ControlNet initialised from the UNet's encoder, with zero output convolutions.

    The hint block gets as many halvings as the autoencoder has, so that hint and latent meet at one
    size. Its initial weights come from ``seed`` and are public, as those of ``control_sd15_ini``
    are.
    """
    channels = _HINT_CHANNELS[: int(math.log2(model.factor)) + 1]
    # Drawn on the CPU whatever the device, so that every machine gets the same weights.
    where = "meta" if model.device == "meta" else "cpu"
    with torch.random.fork_rng(devices=[]), torch.device(where):
        torch.manual_seed(seed)
        net = ControlNetModel.from_unet(model.unet, conditioning_embedding_out_channels=channels)
    return net.requires_grad_(True).to(model.device)


class NoHint(nn.Module):
    """Stands in for a hint block that is elsewhere or unused: adds nothing to the stem."""

    def forward(self, conditioning: Tensor) -> Tensor:
        return torch.zeros((), dtype=conditioning.dtype, device=conditioning.device)


class HintStem(nn.Module):
    """Client side of the classic split: h_ctrl = convin_ctrl(x_t) + HB(c) (METHODS 1.1.2).

    Trainable. The condition enters as pixels in [0, 1].
    """

    takes = CONDITION

    def __init__(self, controlnet: Any) -> None:
        super().__init__()
        self.conv_in = copy.deepcopy(controlnet.conv_in)
        self.hint = copy.deepcopy(controlnet.controlnet_cond_embedding)

    def forward(self, noisy: Tensor, condition: Tensor, condition_latents: Tensor) -> Tensor:
        """``(B, C, h, w)`` from x_t ``(B, 4, h, w)`` and the condition ``(B, 3, H, W)`` in [0, 1]."""
        return self.conv_in(noisy) + self.hint(condition)

    @staticmethod
    def server_part(controlnet: Any) -> Any:
        """The ControlNet behind this stem."""
        net = copy.deepcopy(controlnet)
        net.conv_in, net.controlnet_cond_embedding = nn.Identity(), NoHint()
        return net

    def join(self, server_net: Any) -> Any:
        """The whole ControlNet from stem and server part."""
        net = copy.deepcopy(server_net)
        net.conv_in = copy.deepcopy(self.conv_in)
        net.controlnet_cond_embedding = copy.deepcopy(self.hint)
        return net


class LatentStem(nn.Module):
    """Client side of arXiv:2409.08503 without its activation: h_ctrl = z_c + x_t (METHODS 1.1.3).

    Nothing to train; the condition passes through the frozen autoencoder.
    """

    takes = CONDITION_LATENTS

    def __init__(self, controlnet: Any) -> None:
        super().__init__()
        # The hint block takes no part, but stays with the network so that its layout is the
        # standard one.
        self._unused_hint = copy.deepcopy(controlnet.controlnet_cond_embedding).requires_grad_(
            False
        )

    def forward(self, noisy: Tensor, condition: Tensor, condition_latents: Tensor) -> Tensor:
        """``(B, 4, h, w)`` from x_t and z_c, each ``(B, 4, h, w)``."""
        return condition_latents + noisy

    @staticmethod
    def server_part(controlnet: Any) -> Any:
        """The whole ControlNet but its hint block; its trainable ``conv_in`` is the server's."""
        net = copy.deepcopy(controlnet)
        net.controlnet_cond_embedding = NoHint()
        return net

    def join(self, server_net: Any) -> Any:
        """The whole ControlNet."""
        net = copy.deepcopy(server_net)
        net.controlnet_cond_embedding = copy.deepcopy(self._unused_hint)
        return net


STEMS: dict[str, type[HintStem] | type[LatentStem]] = {"hint": HintStem, "latent": LatentStem}


def headless_unet(model: StableDiffusion) -> Any:
    """The frozen UNet behind its ``conv_in``, as the server holds it."""
    stem, model.unet.conv_in = model.unet.conv_in, nn.Identity()
    try:
        return copy.deepcopy(model.unet)
    finally:
        model.unet.conv_in = stem


def unchanged(channels: int) -> nn.Conv2d:
    """A convolution that changes nothing: what x_t passes on its way to a wire that carries it as it is."""
    conv = nn.Conv2d(channels, channels, 1, bias=False).requires_grad_(False)
    nn.init.dirac_(conv.weight)
    return conv


def server_unet(model: StableDiffusion, whole: bool) -> Any:
    """The frozen UNet as the server of a training holds it: ``whole`` where x_t itself crosses the wire."""
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
    """The network's output, ``(B, 4, h, w)``, from whatever the two networks take as their sample.

    Args:
        prompt: what the UNet takes of the prompts, ``PromptCode.arguments``.
        control_prompt: what the control network takes of them; the paper's wire makes them differ
            at inference.
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
    return unet(
        unet_input,
        t,
        **prompt,
        down_block_additional_residuals=down,
        mid_block_additional_residual=mid,
        return_dict=False,
    )[0]


def predict_undivided(
    model: StableDiffusion,
    controlnet: Any,
    noisy: Tensor,
    t: Tensor,
    prompt: Mapping[str, Any],
    hint: Tensor,
) -> Tensor:
    """The reference: an uncut ControlNet and UNet, as in centralised training.

    Args:
        prompt: what both networks take of the prompts, ``PromptCode.arguments``.
        hint: ``(B, 3, H, W)`` in [0, 1].
    """
    down, mid = controlnet(noisy, t, controlnet_cond=hint, return_dict=False, **prompt)
    return model.unet(
        noisy,
        t,
        **prompt,
        down_block_additional_residuals=down,
        mid_block_additional_residual=mid,
        return_dict=False,
    )[0]
