"""Other layouts of the tiny model: half precision, shards, two vocabulary files, an index."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tests.support.tiny_model import bytes_to_characters, write_vocabulary
from victims.stable_diffusion.networks import read_network

SD_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.0",
    "feature_extractor": [None, None],
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
LFS_POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def write_index(model: Path, **changes: object) -> None:
    """Write ``model_index.json`` of a Stable Diffusion, with some entries replaced."""
    (model / "model_index.json").write_text(json.dumps({**SD_INDEX, **changes}))


def edit_json(file: Path, **changes: object) -> None:
    """Replace entries of a JSON object; None removes an entry."""
    content = {**json.loads(file.read_text()), **changes}
    file.write_text(
        json.dumps(
            {
                name: value
                for name, value in content.items()
                if name not in changes or value is not None
            }
        )
    )


def resave(part: Path, *, variant: str | None = None, shard_size: str = "1GB") -> None:
    """Replace a network's weights by newly saved ones, in half precision for a variant."""
    network = read_network(part).to(torch.float32 if variant is None else torch.float16)
    config = (part / "config.json").read_bytes()
    for file in part.glob("*.safetensors*"):
        file.unlink()
    network.save_pretrained(part, variant=variant, max_shard_size=shard_size)
    (part / "config.json").write_bytes(config)  # the libraries add the path of origin


def split_vocabulary(folder: Path, count: int = 20) -> None:
    """Replace ``tokenizer.json`` by ``vocab.json`` and ``merges.txt`` with as many words."""
    characters = list(bytes_to_characters().values())
    merges = [("a", b) for b in characters[:count]]
    kept = characters[: len(characters) - count // 2]
    words = [
        *kept,
        *(c + "</w>" for c in kept),
        *("".join(pair) for pair in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    write_vocabulary(folder, words, merges)
    (folder / "tokenizer.json").unlink()
