"""Write the trained parts in the layout of ``StableDiffusionPipeline``, in half precision."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from victims.pocket import tokenizer as tokens


def write(
    out: Path, *, vae: Any, unet: Any, text_encoder: Any, tokenizer: Any, scheduler: Any
) -> None:
    """Replace ``out`` by a pipeline directory; the given parts stay in single precision."""
    import diffusers

    fresh = out.with_name(out.name + ".new")
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(parents=True)
    for name, module in (("vae", vae), ("unet", unet), ("text_encoder", text_encoder)):
        _save_half(module, fresh / name)
    tokens.save(tokenizer, fresh / "tokenizer")
    scheduler.save_pretrained(fresh / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (fresh / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    if out.exists():
        shutil.rmtree(out)
    fresh.replace(out)


def _save_half(module: Any, folder: Path) -> None:
    """Save a half-precision copy, and remove the path of origin from its configuration."""
    # The copy is not built from the configuration, because diffusers would restore defaults of
    # entries that were changed later.
    deepcopy(module).to(torch.float16).save_pretrained(folder, safe_serialization=True)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
