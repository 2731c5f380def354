"""Loads any Stable Diffusion 1.x or 2.x in the diffusers layout: a directory, a hub id, or ``pocket``."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.compat import guard_torchvision
from bench.errors import DataError
from bench.images import ImageBatch
from bench.public import Codec
from bench.schedule import NoiseSchedule
from victims.clip_text import ClipText
from victims.model_files import locate

guard_torchvision()

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel  # noqa: E402
from diffusers.utils import logging as diffusers_logging  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

# The libraries' own bars and notices would tear the progress display.
diffusers_logging.set_verbosity_error()
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


@dataclass(frozen=True, eq=False)
class StableDiffusion(Codec):
    """The frozen public parts, in float32 on one device."""

    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    schedule: NoiseSchedule
    device: str

    @classmethod
    def load(cls, model: str, device: str = "cpu") -> StableDiffusion:
        """Load a model; safetensors only, from local files only.

        On the device ``meta`` the networks have shapes and no weights: a model of any size is there in a
        second, and everything that asks for shapes and counts only runs on it as on a real one.

        Raises:
            RequestError, DataError: as ``locate``; also for a damaged part or one that does not fit.
        """
        path = locate(model)
        try:
            tokenizer = CLIPTokenizer.from_pretrained(path / "tokenizer", local_files_only=True)
            vocabulary = CLIPTextConfig.from_pretrained(path / "text_encoder", local_files_only=True).vocab_size
            scheduler = DDIMScheduler.from_pretrained(path / "scheduler", local_files_only=True)
        except Exception as error:
            raise _unreadable(path, error) from error
        # transformers answers an unreadable vocabulary with a tokenizer of two tokens and no error.
        if len(tokenizer) != vocabulary:
            raise DataError(
                f"{path / 'tokenizer'}: {len(tokenizer)} tokens, but the text encoder has {vocabulary}; "
                "its vocabulary files are missing or of another model"
            )
        try:
            vae, unet, text = _shapes(path) if device == "meta" else _networks(path)
        except DataError:
            raise
        except Exception as error:
            raise _unreadable(path, error) from error
        if vae.config.latent_channels != unet.config.in_channels:
            raise DataError(
                f"{path}: the autoencoder has {vae.config.latent_channels} latent channels, "
                f"the UNet takes {unet.config.in_channels}"
            )
        for module in (vae, unet, text):
            module.requires_grad_(False).eval().to(device)
        schedule = NoiseSchedule(scheduler.alphas_cumprod.double(), scheduler.config.prediction_type)
        return cls(vae, unet, text, tokenizer, scheduler, schedule, device)

    @property
    def factor(self) -> int:
        """Pixels per latent cell: 8 in Stable Diffusion."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @torch.no_grad()
    def moments(self, images: ImageBatch) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the scaled latent posterior, each ``(N, 4, h, w)``."""
        means, stds = [], []
        for part in torch.split(images.pixels, images_at_once(images.pixels.shape[-1], most=16)):
            posterior = self.vae.encode(part.to(self.device) * 2 - 1).latent_dist
            means.append(posterior.mean)
            stds.append(posterior.std)
        scale, shift = self.vae.config.scaling_factor, self.vae.config.shift_factor or 0.0
        return (torch.cat(means) - shift) * scale, torch.cat(stds) * scale

    def sample_latents(self, images: ImageBatch, rng: torch.Generator) -> Tensor:
        """One draw from the scaled latent posterior, ``(N, 4, h, w)``."""
        mean, std = self.moments(images)
        return mean + std * torch.randn(mean.shape, generator=rng).to(mean.device)

    def encode(self, images: ImageBatch) -> Tensor:
        return self.moments(images)[0]

    @torch.no_grad()
    def decode(self, latents: Tensor) -> ImageBatch:
        parts = torch.split(latents, images_at_once(latents.shape[-1] * self.factor, most=16))
        return ImageBatch.from_signed(torch.cat([self._decoded(part).cpu() for part in parts]))

    def render(self, latents: Tensor) -> Tensor:
        return (self._decoded(latents) + 1) / 2

    def _decoded(self, latents: Tensor) -> Tensor:
        """Pixels ``(N, 3, H, W)`` in about [-1, 1]."""
        scale, shift = self.vae.config.scaling_factor, self.vae.config.shift_factor or 0.0
        pixels: Tensor = self.vae.decode(latents.to(self.device) / scale + shift).sample
        return pixels

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Tensor:
        """Text-encoder states, ``(N, L, D)``; overlong prompts are cut at the encoder's length."""
        tokens = self.tokenizer(
            prompts,
            padding="max_length",
            truncation=True,
            max_length=self.text_encoder.config.max_position_embeddings,
            return_tensors="pt",
        )
        return self.text_encoder(tokens.input_ids.to(self.device)).last_hidden_state

    def text(self) -> ClipText:
        """The text encoder with its tokenizer, for public use."""
        return ClipText(self.text_encoder, self.tokenizer, self.device)

    def stem(self) -> nn.Module:
        """A copy of the UNet's ``conv_in``."""
        return copy.deepcopy(self.unet.conv_in)


def images_at_once(side: int, *, most: int) -> int:
    """How many pictures to put through a network together: ``most`` up to 128x128, fewer above, 1 at the least."""
    return max(1, min(most, most * 128**2 // side**2))


def _networks(path: Path) -> tuple[Any, Any, Any]:
    """Autoencoder, UNet and text encoder in float32."""
    return (
        _read(AutoencoderKL, path / "vae", torch_dtype=torch.float32),
        _read(UNet2DConditionModel, path / "unet", torch_dtype=torch.float32),
        _read(CLIPTextModel, path / "text_encoder", dtype=torch.float32),
    )


def _read(cls: Any, part: Path, **dtype: torch.dtype) -> Any:
    """A network with all its weights: the libraries only warn of one that is missing, and fill it at random."""
    network, found = cls.from_pretrained(
        part, use_safetensors=True, local_files_only=True, output_loading_info=True, **dtype
    )
    lacking = sorted(found["missing_keys"]) or sorted(str(key) for key in found["mismatched_keys"])
    if lacking:
        raise DataError(f"{part}: the weights lack {lacking[0]} and {len(lacking) - 1} more, or have another shape")
    return network


def _shapes(path: Path) -> tuple[Any, Any, Any]:
    """The same without weights, from the configurations alone."""
    options = {"local_files_only": True}
    with torch.device("meta"):
        return (
            AutoencoderKL.from_config(AutoencoderKL.load_config(path / "vae", **options)),
            UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(path / "unet", **options)),
            CLIPTextModel(CLIPTextConfig.from_pretrained(path / "text_encoder", **options)),
        )


def _unreadable(path: Path, error: Exception) -> DataError:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DataError(f"{path}: a part of the model cannot be read as safetensors: {line}")
