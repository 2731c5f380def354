"""A random Stable Diffusion XL of some ten thousand weights, in the real layout, for fast tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.util.torchvision_guard import guard_torchvision
from tests.support.tiny_model import tiny_autoencoder, vocabulary, write_tokenizer
from victims.stable_diffusion.files import POCKET

LENGTH = 10  # tokens of a prompt
POOLED = 20  # numbers of a pooled prompt
EULER = {
    "_class_name": "EulerDiscreteScheduler",
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "skip_prk_steps": True,
    "timestep_spacing": "leading",
    "use_karras_sigmas": False,
}


def make_tiny_sdxl(path: Path, *, trained_vae: bool = False, seed: int = 0) -> Path:
    """Write a model directory with latent factor 4.

    The second tokenizer pads with ``!``, like that of Stable Diffusion XL.

    Args:
        trained_vae: use the autoencoder of the pocket model, whose pictures can be compared.
    """
    guard_torchvision()
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2),
            cross_attention_dim=16 + 24,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            norm_num_groups=4,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=POOLED + 6 * 8,
        )
        vae = tiny_autoencoder(8, 3, scaling_factor=0.13025)
        text = CLIPTextModel(_text_config(16, 2, 2, "quick_gelu"))
        text_2 = CLIPTextModelWithProjection(_text_config(24, 3, 4, "gelu"))
    for name, module in (
        ("unet", unet),
        ("vae", vae),
        ("text_encoder", text),
        ("text_encoder_2", text_2),
    ):
        module.save_pretrained(path / name)
    if trained_vae:
        shutil.rmtree(path / "vae")
        shutil.copytree(POCKET / "vae", path / "vae")
    write_tokenizer(path / "tokenizer", LENGTH)
    write_tokenizer(path / "tokenizer_2", LENGTH, padding="!")
    write_scheduler(path / "scheduler")
    return path


def _text_config(width: int, layers: int, heads: int, activation: str) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(vocabulary()),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=LENGTH,
        hidden_act=activation,
        projection_dim=POOLED,
        # As in the hub's files; with eos_token_id 2 the end is the highest id of a prompt.
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )


def write_scheduler(folder: Path, sampler: Mapping[str, object] = EULER) -> None:
    """Write a scheduler's configuration as the hub has it; this project reads it as DDIM."""
    folder.mkdir(parents=True)
    config = {
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "trained_betas": None,
        **sampler,
    }
    (folder / "scheduler_config.json").write_text(json.dumps(config))
