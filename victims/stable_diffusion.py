"""Loads any Stable Diffusion 1.x or 2.x in the diffusers layout: a directory, a hub id, or ``pocket``."""

from __future__ import annotations

import copy
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.compat import guard_torchvision
from bench.errors import DataError, RequestError
from bench.files import read_json, sha256_file
from bench.images import ImageBatch
from bench.interfaces import Codec
from bench.schedule import NoiseSchedule

guard_torchvision()

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel  # noqa: E402
from diffusers.utils import logging as diffusers_logging  # noqa: E402
from transformers import CLIPTextModel, CLIPTokenizer  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

# The libraries' own bars and notices would tear the progress display.
diffusers_logging.set_verbosity_error()
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

POCKET = Path(__file__).parent / "pocket" / "weights"
WEIGHTED = ("vae", "unet", "text_encoder")
PARTS = (*WEIGHTED, "tokenizer", "scheduler")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")


def locate(model: str) -> Path:
    """The directory of a model: ``pocket``, a path, or a hub id ``owner/name[@revision]``.

    A hub id is the only thing that may reach the network; only safetensors, JSON and vocabulary files
    are fetched.

    Raises:
        RequestError: nothing there, or the hub cannot be reached.
        DataError: the directory is not a complete diffusers Stable Diffusion.
    """
    path = POCKET if model == "pocket" else Path(model).expanduser()
    if not path.is_dir():
        if model == "pocket" or not _HUB_ID.fullmatch(model) or model.startswith((".", "/", "~")):
            raise RequestError(f"model {model!r}: no such directory, and not a hub id such as owner/name")
        path = _download(model)
    missing = [part for part in PARTS if not (path / part).is_dir()]
    if missing:
        raise DataError(f"{path}: not a diffusers Stable Diffusion directory, {missing[0]}/ is missing")
    for part in WEIGHTED:
        if not any((path / part).glob("*.safetensors")):
            raise DataError(f"{path / part}: no safetensors weights; pickled ones are not read, convert them first")
    return path


def _download(model: str) -> Path:
    from huggingface_hub import snapshot_download

    repo, _, revision = model.partition("@")
    patterns = [f"{part}/*{end}" for part in PARTS for end in (".json", ".safetensors", ".txt")]
    try:
        return Path(
            snapshot_download(
                repo,
                revision=revision or None,
                allow_patterns=["model_index.json", *patterns],
                ignore_patterns=["*.fp16.*", "*non_ema*"],
                etag_timeout=5,
            )
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise RequestError(
            f"model {model!r}: not a local directory, and the hub cannot be reached or refused it "
            f"({type(error).__name__}); give a directory in diffusers layout"
        ) from error


def fingerprint(path: Path) -> str:
    """sha256 over every weight, configuration and vocabulary file of a model directory."""
    digest = hashlib.sha256()
    for part in PARTS:
        for file in sorted((path / part).iterdir()):
            if file.suffix in (".safetensors", ".json", ".txt"):
                digest.update(f"{part}/{file.name} {sha256_file(file)}\n".encode())
    return digest.hexdigest()


def check_size(path: Path, image_size: int) -> None:
    """Refuse sizes that a model's networks cannot halve evenly; reads its configuration only.

    Raises:
        RequestError: with the multiple that fits.
        DataError: a configuration is missing or malformed.
    """
    blocks = []
    for part in ("vae", "unet"):
        config = read_json(path / part / "config.json")
        try:
            blocks.append(len(config["block_out_channels"]))
        except (KeyError, TypeError) as error:
            raise DataError(f"{path / part / 'config.json'}: block_out_channels is missing") from error
    step = 2 ** (sum(blocks) - 2)
    if image_size % step:
        raise RequestError(f"image size {image_size}: this model needs a multiple of {step}")


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

        Raises:
            RequestError, DataError: as ``locate``; also for a damaged part or one that does not fit.
        """
        path = locate(model)
        options = {"local_files_only": True}
        try:
            vae = AutoencoderKL.from_pretrained(
                path / "vae", use_safetensors=True, torch_dtype=torch.float32, **options
            )
            unet = UNet2DConditionModel.from_pretrained(
                path / "unet", use_safetensors=True, torch_dtype=torch.float32, **options
            )
            text = CLIPTextModel.from_pretrained(
                path / "text_encoder", use_safetensors=True, dtype=torch.float32, **options
            )
            tokenizer = CLIPTokenizer.from_pretrained(path / "tokenizer", **options)
            scheduler = DDIMScheduler.from_pretrained(path / "scheduler", **options)
        except Exception as error:
            line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise DataError(f"{path}: a part of the model cannot be read as safetensors: {line}") from error
        # transformers answers an unreadable vocabulary with a tokenizer of two tokens and no error.
        if len(tokenizer) != text.config.vocab_size:
            raise DataError(
                f"{path / 'tokenizer'}: {len(tokenizer)} tokens, but the text encoder has {text.config.vocab_size}"
            )
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
        for start in range(0, len(images), 16):
            posterior = self.vae.encode(images.pixels[start : start + 16].to(self.device) * 2 - 1).latent_dist
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
        scale, shift = self.vae.config.scaling_factor, self.vae.config.shift_factor or 0.0
        parts = [
            self.vae.decode(latents[i : i + 16].to(self.device) / scale + shift).sample.cpu()
            for i in range(0, len(latents), 16)
        ]
        return ImageBatch.from_signed(torch.cat(parts))

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

    def stem(self) -> nn.Module:
        """A copy of the UNet's ``conv_in``."""
        return copy.deepcopy(self.unet.conv_in)


def conv_in_report(model: str) -> dict[str, float]:
    """Rank and condition number of ``conv_in`` as a linear map from a 3x3 patch to its features.

    Full column rank means that the noisy latent can be read off ``unet_features`` exactly.
    """
    from safetensors import safe_open

    path = locate(model)
    for file in sorted((path / "unet").glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            if "conv_in.weight" in tensors.keys():  # noqa: SIM118
                matrix = tensors.get_tensor("conv_in.weight").double().flatten(1)
                values = torch.linalg.svdvals(matrix)
                return {
                    "rows": matrix.shape[0],
                    "columns": matrix.shape[1],
                    "rank": int(torch.linalg.matrix_rank(matrix)),
                    "condition": float(values[0] / values[-1]),
                }
    raise DataError(f"{path / 'unet'}: no conv_in.weight in any safetensors file")
