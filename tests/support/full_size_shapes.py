"""The shapes of Stable Diffusion 1.5 and XL in the layout of the hub, with zeros as weights.

The files are sparse: reading them takes gigabytes, but on the disk they take a few megabytes.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.util.torchvision_guard import guard_torchvision
from tests.support.tiny_model import bytes_to_characters, write_vocabulary
from tests.support.tiny_sdxl import write_scheduler

TOKENS = 49_408
PNDM = {"_class_name": "PNDMScheduler", "skip_prk_steps": True}


def make_sd15_shape(path: Path) -> Path:
    """Write the shape of Stable Diffusion 1.5."""
    guard_torchvision()
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64,
            in_channels=4,
            out_channels=4,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            cross_attention_dim=768,
            attention_head_dim=8,
        )
        vae = _autoencoder(512)
        text = CLIPTextModel(_text_config(768, 3072, 12, 12, "quick_gelu"))
    _write(path, unet, vae, text_encoder=text)
    _write_tokenizer(path / "tokenizer", "<|endoftext|>")
    write_scheduler(path / "scheduler", PNDM)
    return path


def make_sdxl_shape(path: Path) -> Path:
    """Write the shape of Stable Diffusion XL base 1.0."""
    guard_torchvision()
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=128,
            in_channels=4,
            out_channels=4,
            block_out_channels=(320, 640, 1280),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            cross_attention_dim=2048,
            attention_head_dim=(5, 10, 20),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=1280 + 6 * 256,
        )
        vae = _autoencoder(1024, scaling_factor=0.13025, force_upcast=True)
        text = CLIPTextModel(_text_config(768, 3072, 12, 12, "quick_gelu"))
        text_2 = CLIPTextModelWithProjection(_text_config(1280, 5120, 32, 20, "gelu"))
    _write(path, unet, vae, text_encoder=text, text_encoder_2=text_2)
    _write_tokenizer(path / "tokenizer", "<|endoftext|>")
    _write_tokenizer(path / "tokenizer_2", "!")
    write_scheduler(path / "scheduler")
    (path / "model_index.json").write_text(json.dumps({"force_zeros_for_empty_prompt": True}))
    return path


def _autoencoder(image_size: int, **options: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        sample_size=image_size,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        norm_num_groups=32,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        **options,
    )


def _text_config(width: int, inner: int, layers: int, heads: int, activation: str) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=TOKENS,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=77,
        hidden_act=activation,
        projection_dim=width,
        # As in the hub's files; with eos_token_id 2 the end is the highest id of a prompt.
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )


def _write(path: Path, unet: Any, vae: Any, **text_encoders: Any) -> None:
    """Write configurations and weights; ``conv_in`` is random, all other weights are zeros."""
    unet.save_config(path / "unet")
    vae.save_config(path / "vae")
    kernel = 0.05 * torch.randn(320, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    name = "diffusion_pytorch_model.safetensors"
    _save_sparse(unet, path / "unet" / name, {"conv_in.weight": kernel})
    _save_sparse(vae, path / "vae" / name, {})
    for part, encoder in text_encoders.items():
        encoder.config.save_pretrained(path / part)
        _save_sparse(encoder, path / part / "model.safetensors", {})


def _save_sparse(network: nn.Module, file: Path, given: dict[str, Tensor]) -> None:
    """Write all tensors of a network in half precision, zeros where none is ``given``."""
    layout, end = {}, 0
    for name, tensor in network.state_dict().items():
        start, end = end, end + 2 * math.prod(tensor.shape)
        layout[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [start, end]}
    header = json.dumps(layout).encode()
    header += b" " * (-len(header) % 8)
    with file.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + end)
        for name, tensor in given.items():
            stream.seek(8 + len(header) + layout[name]["data_offsets"][0])
            stream.write(tensor.half().numpy().tobytes())


def _write_tokenizer(folder: Path, padding: str) -> None:
    """Write a vocabulary of the right size in the two files that the hub has."""
    characters = list(bytes_to_characters().values())
    words = [*characters, *(c + "</w>" for c in characters)]
    merges = list(
        itertools.islice(itertools.product(characters, characters), TOKENS - 2 - len(words))
    )
    words += ["".join(pair) for pair in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    write_vocabulary(folder, words, merges)
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": padding}
        )
    )
