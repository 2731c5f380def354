"""The shape of Stable Diffusion XL base 1.0 in the layout of the hub: gigabytes to read, megabytes on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from bench.interfaces import guard_torchvision
from tests.support.sd15_shape import TOKENS, save_sparse, write_tokenizer
from tests.support.tiny_sdxl import write_scheduler


def make_sdxl_shape(path: Path) -> Path:
    """Write a directory whose weights are zeros in half precision, in sparse files, but for a random ``conv_in``."""
    guard_torchvision()
    from diffusers import AutoencoderKL, UNet2DConditionModel
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
        vae = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            sample_size=1024,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            norm_num_groups=32,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            scaling_factor=0.13025,
            force_upcast=True,
        )
        text = CLIPTextModel(_text_config(768, 3072, 12, 12, "quick_gelu"))
        text_2 = CLIPTextModelWithProjection(_text_config(1280, 5120, 32, 20, "gelu"))
    unet.save_config(path / "unet")
    vae.save_config(path / "vae")
    text.config.save_pretrained(path / "text_encoder")
    text_2.config.save_pretrained(path / "text_encoder_2")
    kernel = 0.05 * torch.randn(320, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    save_sparse(
        unet, path / "unet" / "diffusion_pytorch_model.safetensors", {"conv_in.weight": kernel}
    )
    save_sparse(vae, path / "vae" / "diffusion_pytorch_model.safetensors", {})
    save_sparse(text, path / "text_encoder" / "model.safetensors", {})
    save_sparse(text_2, path / "text_encoder_2" / "model.safetensors", {})
    write_tokenizer(path / "tokenizer")
    write_tokenizer(path / "tokenizer_2", padding="!")
    write_scheduler(path / "scheduler")
    (path / "model_index.json").write_text(json.dumps({"force_zeros_for_empty_prompt": True}))
    return path


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
        bos_token_id=0,  # as the hub's files have it; with eos_token_id 2 the end is the highest id of a prompt
        eos_token_id=2,
        pad_token_id=1,
    )
