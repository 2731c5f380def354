"""The shape of Stable Diffusion 1.5 in the layout of the hub: gigabytes to read, a few megabytes on the disk."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.interfaces import guard_torchvision
from tests.support.tiny_model import bytes_to_characters

TOKENS = 49_408


def make_sd15_shape(path: Path) -> Path:
    """Write a directory whose weights are zeros in half precision, in sparse files, but for a random ``conv_in``."""
    guard_torchvision()
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

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
        vae = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            sample_size=512,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            norm_num_groups=32,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )
    unet.save_config(path / "unet")
    vae.save_config(path / "vae")
    words = CLIPTextConfig(
        vocab_size=TOKENS,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
        bos_token_id=0,  # as the hub's file has it; eos_token_id 2 marks the oldest of the CLIP configurations
        eos_token_id=2,
        pad_token_id=1,
    )
    words.save_pretrained(path / "text_encoder")
    with torch.device("meta"):
        text = CLIPTextModel(words)
    kernel = 0.05 * torch.randn(320, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    save_sparse(
        unet, path / "unet" / "diffusion_pytorch_model.safetensors", {"conv_in.weight": kernel}
    )
    save_sparse(vae, path / "vae" / "diffusion_pytorch_model.safetensors", {})
    save_sparse(text, path / "text_encoder" / "model.safetensors", {})
    write_tokenizer(path / "tokenizer")
    _write_scheduler(path / "scheduler")
    return path


def save_sparse(network: nn.Module, file: Path, given: dict[str, Tensor]) -> None:
    """A safetensors file with all tensors of a network in half precision, zeros where none is ``given``."""
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


def write_tokenizer(folder: Path, padding: str = "<|endoftext|>") -> None:
    """A vocabulary of the right size, in the two files that the hub has."""
    characters = list(bytes_to_characters().values())
    words = [*characters, *(c + "</w>" for c in characters)]
    merges = list(
        itertools.islice(itertools.product(characters, characters), TOKENS - 2 - len(words))
    )
    words += ["".join(pair) for pair in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": padding}
        )
    )


def _write_scheduler(folder: Path) -> None:
    """PNDM's, as the hub has it; this project reads it as DDIM."""
    folder.mkdir()
    config = {
        "_class_name": "PNDMScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
        "clip_sample": False,
    }
    (folder / "scheduler_config.json").write_text(json.dumps(config))
