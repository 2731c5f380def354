"""Checkpoints in a single file: what they hold, and the command that makes a directory of one.

diffusers can load such a file, but not by itself: configuration and vocabulary are not in it, and
it fetches them from the hub. The conversion is therefore a step of its own, once for each file,
after which the weights, the configuration and the vocabulary lie together and are checked and
hashed together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from victims.stable_diffusion.file_checks import python_command
from victims.stable_diffusion.weight_files import header

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")
"""Endings of weights in a single file; no hub id ends so."""

_PICKLED = (".ckpt", ".pt", ".pth", ".bin")
_PIPELINES = {
    "Stable Diffusion 1": "StableDiffusionPipeline",
    "Stable Diffusion 2": "StableDiffusionPipeline",
    "Stable Diffusion XL": "StableDiffusionXLPipeline",
}
_CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"


def is_single_file(model: str) -> bool:
    """Whether a model is named by a file, which need not be there."""
    return model.lower().endswith(SUFFIXES) or Path(model).expanduser().is_file()


def refusal(file: Path) -> str:
    """Why a model cannot be taken from ``file``, and the step that mends it, in one sentence.

    Raises:
        DataError: the file is missing, a Git LFS pointer, truncated or no safetensors file.
    """
    if not file.exists():
        return f"model {str(file)!r}: no such file"
    if file.suffix.lower() in _PICKLED:
        return (
            f"{file}: a pickle, which may run code when it is read and is not read; give the model as safetensors in "
            "diffusers layout"
        )
    if file.suffix.lower() != ".safetensors":
        return f"{file}: not a model; give a directory in diffusers layout"
    found = content(header(file))
    if found not in _PIPELINES:
        return f"{file}: {found}; give a whole Stable Diffusion in diffusers layout"
    return f"{file}: a {found} in a single file; make a directory of it and give that, {_advice(file, found)}"


def conversion(file: Path, model: str, config: Path | None = None) -> str:
    """Python code that writes a directory beside ``file``, with its name without the ending.

    Args:
        model: as ``content`` names it.
        config: a directory in diffusers layout to take configuration and vocabulary from, without
            the hub.
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
        f"{python_command(conversion(file, model))}, which asks the hub for configuration and vocabulary (where there "
        f'is none, add config="DIR", local_files_only=True with DIR any {model} in diffusers layout)'
    )


def content(tensors: Mapping[str, tuple[int, ...]]) -> str:
    """What a file holds, by the names and shapes of its tensors: a key of ``_PIPELINES`` or what no model can be of."""
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
