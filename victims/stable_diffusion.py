"""Loads any Stable Diffusion 1.x, 2.x or XL in the diffusers layout: a directory, a hub id, or ``pocket``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.compat import guard_torchvision
from bench.errors import DataError
from bench.images import ImageBatch
from bench.public import Codec
from bench.public_text import PublicText
from bench.schedule import NoiseSchedule
from victims.clip_text import ClipText
from victims.model_files import locate
from victims.prompt_code import PromptCode, time_ids
from victims.sdxl_files import is_xl, zeros_for_no_prompt
from victims.sdxl_text import PairedText

guard_torchvision()

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel  # noqa: E402
from diffusers.utils import logging as diffusers_logging  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

# The libraries' own bars and notices would tear the progress display.
diffusers_logging.set_verbosity_error()
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

TEXT_ENCODERS = {"": CLIPTextModel, "_2": CLIPTextModelWithProjection}
"""Of Stable Diffusion XL, by the ending of its directory."""


@dataclass(frozen=True, eq=False)
class StableDiffusion(Codec):
    """The frozen public parts, in float32 on one device.

    Attributes:
        text_encoder_2, tokenizer_2: of Stable Diffusion XL; None in other models.
        zeros_for_no_prompt: the model works without a prompt on zeros, instead of the states of the empty prompt.
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
        """Load a model; safetensors only, from local files only.

        On the device ``meta`` the networks have shapes and no weights: a model of any size is there in a
        second, and everything that asks for shapes and counts only runs on it as on a real one.

        Raises:
            RequestError, DataError: as ``locate``; also for a damaged part or one that does not fit.
        """
        path = locate(model)
        encoders = TEXT_ENCODERS if is_xl(path) else {"": CLIPTextModel}
        try:
            tokenizers = [_tokenizer(path, number) for number in encoders]
            scheduler = DDIMScheduler.from_pretrained(path / "scheduler", local_files_only=True)
            networks = (_shapes if device == "meta" else _networks)(path, encoders)
        except DataError:
            raise
        except Exception as error:
            raise _unreadable(path, error) from error
        vae, unet, *texts = networks
        _check_fit(path, vae, unet, texts, tokenizers)
        for module in networks:
            module.requires_grad_(False).eval().to(device)
        schedule = NoiseSchedule(scheduler.alphas_cumprod.double(), scheduler.config.prediction_type)
        first = cls(vae, unet, texts[0], tokenizers[0], scheduler, schedule, device)
        if len(texts) == 1:
            return first
        return replace(
            first, text_encoder_2=texts[1], tokenizer_2=tokenizers[1], zeros_for_no_prompt=zeros_for_no_prompt(path)
        )

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

    def embed(self, prompts: list[str]) -> Tensor:
        """Text-encoder states, ``(N, L, D)``; overlong prompts are cut at the encoder's length."""
        text = self.text()
        return text.states(text.encode(prompts))

    def prompt_code(self, prompts: list[str]) -> PromptCode:
        """All that the networks take of prompts; overlong ones are cut at the encoder's length."""
        text = self.text()
        ids = text.encode(prompts)
        return PromptCode(text.states(ids), text.pooled(ids))

    def no_prompt(self) -> PromptCode:
        """What the UNet was taught to take for no prompt at all, of one record: the other side of guidance."""
        empty = self.prompt_code([""])
        return empty.zeros() if self.zeros_for_no_prompt else empty

    def text(self) -> PublicText:
        """The text encoder with its tokenizer, or both of each, for public use."""
        if self.text_encoder_2 is None:
            return ClipText(self.text_encoder, self.tokenizer, self.device)
        return PairedText(self.text_encoder, self.tokenizer, self.text_encoder_2, self.tokenizer_2, self.device)

    def stem(self) -> nn.Module:
        """A copy of the UNet's ``conv_in``."""
        return copy.deepcopy(self.unet.conv_in)


def images_at_once(side: int, *, most: int) -> int:
    """How many pictures to put through a network together: ``most`` up to 128x128, fewer above, 1 at the least."""
    return max(1, min(most, most * 128**2 // side**2))


def _tokenizer(path: Path, number: str) -> Any:
    """The tokenizer of the text encoder with the same ending.

    Raises:
        DataError: it has another vocabulary than the text encoder.
    """
    tokenizer = CLIPTokenizer.from_pretrained(path / f"tokenizer{number}", local_files_only=True)
    vocabulary = CLIPTextConfig.from_pretrained(path / f"text_encoder{number}", local_files_only=True).vocab_size
    # transformers answers an unreadable vocabulary with a tokenizer of two tokens and no error.
    if len(tokenizer) != vocabulary:
        raise DataError(
            f"{path / f'tokenizer{number}'}: {len(tokenizer)} tokens, but the text encoder has {vocabulary}; "
            "its vocabulary files are missing or of another model"
        )
    return tokenizer


def _networks(path: Path, encoders: Mapping[str, Any]) -> list[Any]:
    """Autoencoder, UNet and text encoders in float32."""
    return [
        _read(AutoencoderKL, path / "vae", torch_dtype=torch.float32),
        _read(UNet2DConditionModel, path / "unet", torch_dtype=torch.float32),
        *(_read(kind, path / f"text_encoder{number}", dtype=torch.float32) for number, kind in encoders.items()),
    ]


def _read(cls: Any, part: Path, **dtype: torch.dtype) -> Any:
    """A network with all its weights: the libraries only warn of one that is missing, and fill it at random."""
    network, found = cls.from_pretrained(
        part, use_safetensors=True, local_files_only=True, output_loading_info=True, **dtype
    )
    lacking = sorted(found["missing_keys"]) or sorted(str(key) for key in found["mismatched_keys"])
    if lacking:
        raise DataError(f"{part}: the weights lack {lacking[0]} and {len(lacking) - 1} more, or have another shape")
    return network


def _shapes(path: Path, encoders: Mapping[str, Any]) -> list[Any]:
    """The same without weights, from the configurations alone."""
    options = {"local_files_only": True}
    with torch.device("meta"):
        return [
            AutoencoderKL.from_config(AutoencoderKL.load_config(path / "vae", **options)),
            UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(path / "unet", **options)),
            *(
                kind(CLIPTextConfig.from_pretrained(path / f"text_encoder{number}", **options))
                for number, kind in encoders.items()
            ),
        ]


def _check_fit(path: Path, vae: Any, unet: Any, texts: Sequence[Any], tokenizers: Sequence[Any]) -> None:
    """Refuse parts that are not of one model.

    Raises:
        DataError: with the first numbers that differ.
    """
    unet_config = unet.config
    width = sum(text.config.hidden_size for text in texts)
    if vae.config.latent_channels != unet_config.in_channels:
        raise DataError(
            f"{path}: the autoencoder has {vae.config.latent_channels} latent channels, "
            f"the UNet takes {unet_config.in_channels}"
        )
    if isinstance(unet_config.cross_attention_dim, int) and unet_config.cross_attention_dim != width:
        raise DataError(
            f"{path}: a prompt's states have {width} numbers a token, but the UNet takes "
            f"{unet_config.cross_attention_dim}; text encoder and UNet are of different models"
        )
    if len(texts) == 1:
        return
    added = texts[1].config.projection_dim + time_ids(1, 1).numel() * unet_config.addition_time_embed_dim
    if added != unet_config.projection_class_embeddings_input_dim:
        raise DataError(
            f"{path}: pooled text and time ids have {added} numbers, "
            f"the UNet takes {unet_config.projection_class_embeddings_input_dim}; give a base model, not a refiner"
        )
    one, two = (tokenizer.get_vocab() for tokenizer in tokenizers)
    if one != two or texts[0].config.max_position_embeddings != texts[1].config.max_position_embeddings:
        raise DataError(
            f"{path}: tokenizer/ and tokenizer_2/ read prompts differently, in other words or to another length; "
            "both text encoders must be given the same tokens"
        )


def _unreadable(path: Path, error: Exception) -> DataError:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DataError(f"{path}: a part of the model cannot be read as safetensors: {line}")
