"""Load any Stable Diffusion 1.x, 2.x or XL in diffusers layout."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.interfaces import Codec, ImageBatch, NoiseSchedule, PublicText
from bench.util.torchvision_guard import guard_torchvision
from victims.stable_diffusion.clip_text import ClipText
from victims.stable_diffusion.files import locate
from victims.stable_diffusion.model_kind import WEIGHTED, model_kind, zeros_for_no_prompt
from victims.stable_diffusion.networks import read_network, shapes
from victims.stable_diffusion.noise_schedule import read_scheduler
from victims.stable_diffusion.prompt_code import PromptCode
from victims.stable_diffusion.sdxl_text import PairedText
from victims.stable_diffusion.tokenizer import read_tokenizer

guard_torchvision()

from diffusers.utils import logging as diffusers_logging  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

# The progress bars and notices of the libraries would corrupt the progress display.
diffusers_logging.set_verbosity_error()
transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
diffusers_logging.disable_progress_bar()
transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class StableDiffusion(Codec):
    """Holds the frozen public parts, in float32 on one device.

    Attributes:
        vae: the autoencoder.
        unet: the UNet.
        text_encoder: the text encoder, or the first of two.
        tokenizer: the tokenizer of ``text_encoder``.
        scheduler: a DDIM sampler.
        schedule: the noising process.
        device: device of all parts.
        text_encoder_2: the second text encoder of Stable Diffusion XL; None in other models.
        tokenizer_2: the tokenizer of ``text_encoder_2``; None in other models.
        zeros_for_no_prompt: whether zeros stand for no prompt, instead of the states of the empty
            prompt.
    """

    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    schedule: NoiseSchedule
    device: str
    text_encoder_2: Any = None
    tokenizer_2: Any = None
    zeros_for_no_prompt: bool = False

    @classmethod
    def load(cls, model: str, device: str = "cpu") -> StableDiffusion:
        """Load a model from local safetensors files.

        On the device ``meta`` the networks have shapes and no weights: a model of any size loads in
        a second, and code that needs only shapes and counts runs on it.

        Args:
            model: ``pocket``, a path, or a hub id ``owner/name[@commit]``.
            device: device of the networks.

        Raises:
            RequestError: there is no such model (``locate``).
            DataError: a part is missing, damaged, or does not fit the others.
        """
        path = locate(model)
        tokenizer = read_tokenizer(path / "tokenizer")
        scheduler, schedule = read_scheduler(path / "scheduler")
        read = shapes if device == "meta" else read_network
        networks = {part: read(path / part) for part in WEIGHTED[model_kind(path)]}
        for module in networks.values():
            module.requires_grad_(False).eval().to(device)
        vae, unet, text, *others = networks.values()
        loaded = cls(vae, unet, text, tokenizer, scheduler, schedule, device)
        if not others:
            return loaded
        return replace(
            loaded,
            text_encoder_2=others[0],
            tokenizer_2=read_tokenizer(path / "tokenizer_2"),
            zeros_for_no_prompt=zeros_for_no_prompt(path),
        )

    @property
    def factor(self) -> int:
        """Return the pixels per latent cell: 8 in Stable Diffusion."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @torch.no_grad()
    def moments(self, images: ImageBatch) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the scaled latent posterior, ``(N, 4, h, w)``."""
        means, stds = [], []
        for part in torch.split(images.pixels, images_at_once(images.pixels.shape[-1], most=16)):
            posterior = self.vae.encode(part.to(self.device) * 2 - 1).latent_dist
            means.append(posterior.mean)
            stds.append(posterior.std)
        scale, shift = self.vae.config.scaling_factor, self.vae.config.shift_factor or 0.0
        return (torch.cat(means) - shift) * scale, torch.cat(stds) * scale

    def encode(self, images: ImageBatch) -> Tensor:
        return self.moments(images)[0]

    @torch.no_grad()
    def decode(self, latents: Tensor) -> ImageBatch:
        parts = torch.split(latents, images_at_once(latents.shape[-1] * self.factor, most=16))
        return ImageBatch.from_signed(torch.cat([self._decoded(part).cpu() for part in parts]))

    def render(self, latents: Tensor) -> Tensor:
        return (self._decoded(latents) + 1) / 2

    def _decoded(self, latents: Tensor) -> Tensor:
        """Return pixels ``(N, 3, H, W)`` in about [-1, 1]."""
        scale, shift = self.vae.config.scaling_factor, self.vae.config.shift_factor or 0.0
        pixels: Tensor = self.vae.decode(latents.to(self.device) / scale + shift).sample
        return pixels

    def embed(self, prompts: list[str]) -> Tensor:
        """Return text-encoder states, ``(N, L, D)``; long prompts are truncated."""
        text = self.text()
        return text.states(text.encode(prompts))

    def prompt_code(self, prompts: list[str]) -> PromptCode:
        """Return states and pooled embeddings of prompts; long prompts are truncated."""
        text = self.text()
        ids = text.encode(prompts)
        return PromptCode(text.states(ids), text.pooled(ids))

    def no_prompt(self) -> PromptCode:
        """Return the code of one record that the UNet was trained to take for no prompt.

        It is the unconditional side of classifier-free guidance.
        """
        empty = self.prompt_code([""])
        return empty.zeros() if self.zeros_for_no_prompt else empty

    def text(self) -> PublicText:
        """Return the public text encoder with its tokenizer, or both encoders as one."""
        if self.text_encoder_2 is None:
            return ClipText(self.text_encoder, self.tokenizer, self.device)
        return PairedText(
            self.text_encoder, self.tokenizer, self.text_encoder_2, self.tokenizer_2, self.device
        )

    def stem(self) -> nn.Module:
        """Return a copy of the UNet's ``conv_in``."""
        conv_in: nn.Module = copy.deepcopy(self.unet.conv_in)
        return conv_in


def images_at_once(side: int, *, most: int) -> int:
    """Return how many pictures pass through a network together.

    Args:
        side: height and width of the pictures.
        most: the number for pictures up to 128x128; larger pictures get fewer, at least 1.
    """
    return max(1, min(most, most * 128**2 // side**2))
