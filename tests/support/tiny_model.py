"""A random Stable Diffusion of a few thousand weights, in the real layout, for fast tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.interfaces import guard_torchvision


def bytes_to_characters() -> dict[int, str]:
    """Return GPT-2's printable character for each byte, as CLIP's vocabulary has it."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {b: chr(b) for b in printable}
    for i, b in enumerate(b for b in range(256) if b not in table):
        table[b] = chr(256 + i)
    return table


def make_tiny_model(path: Path, *, width: int = 8, blocks: int = 3, seed: int = 0) -> Path:
    """Write a model directory.

    Args:
        width: channels of the first block of UNet and autoencoder.
        blocks: autoencoder blocks; the latent factor is ``2 ** (blocks - 1)``.
    """
    guard_torchvision()
    from diffusers import DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(2 * width, 4 * width),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=4,
        )
        vae = tiny_autoencoder(width, blocks, scaling_factor=1.0)
        vocab = vocabulary()
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(vocab),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=8,
                bos_token_id=len(vocab) - 2,
                eos_token_id=len(vocab) - 1,
                pad_token_id=len(vocab) - 1,
            )
        )
    path.mkdir(parents=True)
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    unet.save_pretrained(path / "unet")
    vae.save_pretrained(path / "vae")
    text.save_pretrained(path / "text_encoder")
    write_tokenizer(path / "tokenizer", 8)
    scheduler.save_pretrained(path / "scheduler")
    return path


def tiny_autoencoder(width: int, blocks: int, *, scaling_factor: float) -> Any:
    """Return a random autoencoder with ``blocks`` blocks of ``width`` channels."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(width,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
        scaling_factor=scaling_factor,
    )


def vocabulary() -> list[str]:
    """Return tokens by id: bytes within a word, bytes that end a word, start and end."""
    characters = list(bytes_to_characters().values())
    return [*characters, *(c + "</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]


def write_tokenizer(folder: Path, length: int, padding: str = "<|endoftext|>") -> None:
    """Write a tokenizer of one token a byte."""
    from transformers import CLIPTokenizer

    vocab = {word: i for i, word in enumerate(vocabulary())}
    CLIPTokenizer(
        vocab=vocab, merges=[], model_max_length=length, pad_token=padding
    ).save_pretrained(folder)


def write_vocabulary(folder: Path, words: Sequence[str], merges: Iterable[tuple[str, str]]) -> None:
    """Write ``vocab.json`` and ``merges.txt``."""
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
