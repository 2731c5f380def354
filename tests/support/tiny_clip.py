"""A random CLIP of a few thousand weights, in the layout of transformers."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from bench.util.torchvision_guard import guard_torchvision
from tests.support.tiny_model import vocabulary, write_vocabulary


def make_tiny_clip(path: Path, *, seed: int = 0) -> Path:
    """Write a CLIP for 32x32 pictures in patches of 8 and prompts of 12 tokens, 8 numbers out."""
    guard_torchvision()
    from transformers import CLIPConfig, CLIPModel

    words = vocabulary()
    tower = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = CLIPConfig(
        text_config={
            **tower,
            "vocab_size": len(words),
            "max_position_embeddings": 12,
            "bos_token_id": len(words) - 2,
            "eos_token_id": len(words) - 1,
            "pad_token_id": len(words) - 1,
        },
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(path)
    write_vocabulary(path, words, merges=[])
    (path / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "CLIPTokenizer",
                "model_max_length": 12,
                "pad_token": "<|endoftext|>",
            }
        )
    )
    return path
