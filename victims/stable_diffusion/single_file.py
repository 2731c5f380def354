"""Checkpoints in a single file: their content, and the command that converts one to a directory.

diffusers can load such a file, but it fetches configuration and vocabulary, which the file lacks,
from the hub. Users therefore convert each file once; the resulting directory has weights,
configuration and vocabulary, which are checked and hashed together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from victims.stable_diffusion.file_checks import python_command
from victims.stable_diffusion.weight_files import header

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")
"""Suffixes of weights in a single file; no hub id has them."""

_PICKLED = (".ckpt", ".pt", ".pth", ".bin")
_PIPELINES = {
    "Stable Diffusion 1": "StableDiffusionPipeline",
    "Stable Diffusion 2": "StableDiffusionPipeline",
    "Stable Diffusion XL": "StableDiffusionXLPipeline",
}
_CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"


def is_single_file(model: str) -> bool:
    """Return whether a model's name is that of a file, which need not exist."""
    return model.lower().endswith(SUFFIXES) or Path(model).expanduser().is_file()


def refusal(file: Path) -> str:
    """Return why a model cannot be loaded from ``file``, and how to convert it, in one sentence.

    Raises:
        DataError: the file is a Git LFS pointer, truncated or no safetensors file.
    """
    if not file.exists():
        return f"model {str(file)!r}: no such file; give a directory in diffusers layout"
    if file.suffix.lower() in _PICKLED:
        return (
            f"{file}: a pickle, which is not loaded because loading it may run code; give the "
            "model as safetensors in diffusers layout"
        )
    if file.suffix.lower() != ".safetensors":
        return f"{file}: not a model; give a directory in diffusers layout"
    kind = content(header(file))
    if kind not in _PIPELINES:
        return f"{file}: {kind}; give a whole Stable Diffusion in diffusers layout"
    return (
        f"{file}: a {kind} in a single file; make a directory of it and give that, "
        f"{_advice(file, kind)}"
    )


def conversion(file: Path, model: str, config: Path | None = None) -> str:
    """Return Python code that writes a directory next to ``file``, named without the suffix.

    Args:
        file: the single file.
        model: the model's name as ``content`` returns it.
        config: a directory in diffusers layout that supplies configuration and vocabulary; None
            fetches them from the hub.
    """
    options = [json.dumps(str(file))]
    if _PIPELINES[model] == "StableDiffusionPipeline":
        options.append("safety_checker=None")
    if config is not None:
        options += [f"config={json.dumps(str(config))}", "local_files_only=True"]
    target = json.dumps(str(file.with_suffix("")))
    return (
        f"from diffusers import {_PIPELINES[model]} as P; "
        f"P.from_single_file({', '.join(options)}).save_pretrained({target})"
    )


def _advice(file: Path, model: str) -> str:
    return (
        f"{python_command(conversion(file, model))}, which asks the hub for configuration and "
        f'vocabulary (without the hub, add config="DIR", local_files_only=True, where DIR is any '
        f"{model} in diffusers layout)"
    )


def content(tensors: Mapping[str, tuple[int, ...]]) -> str:
    """Return the kind of model that a file holds, from the names and shapes of its tensors.

    The kind is a key of ``_PIPELINES``, or a description of something that cannot be converted.
    """
    names = list(tensors)

    def holds(start: str) -> bool:
        return any(name.startswith(start) for name in names)

    if holds("lora_") or any(".lora_" in name for name in names):
        return "a LoRA, which is a change to a model"
    if holds("control_model.") or any("controlnet_cond_embedding" in name for name in names):
        return "a ControlNet"
    if any("joint_blocks." in name for name in names):
        return "a Stable Diffusion 3"
    if any("double_blocks." in name for name in names):
        return "a Flux"
    if not holds("model.diffusion_model."):
        return "no checkpoint of a whole Stable Diffusion"
    channels = tensors.get(_CONV_IN, (0, 4))[1]
    if channels != 4:
        return f"a UNet that takes {channels} channels, as for inpainting or editing"
    if not holds("first_stage_model."):
        return "a UNet without its autoencoder"
    if holds("conditioner.embedders.1."):
        return "Stable Diffusion XL"
    if holds("conditioner."):
        return "the refiner of Stable Diffusion XL"
    if holds("cond_stage_model.model."):
        return "Stable Diffusion 2"
    return "Stable Diffusion 1" if holds("cond_stage_model.") else "a UNet without its text encoder"
