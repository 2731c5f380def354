"""The safetensors files of one network: which are loaded, and whether they are complete."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from bench.interfaces import DataError
from victims.stable_diffusion.file_checks import python_command, read_object, refuse_pointer

NETWORKS = {
    "vae": "AutoencoderKL",
    "unet": "UNet2DConditionModel",
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "CLIPTextModelWithProjection",
}
"""The parts that hold weights, each with its class in diffusers or transformers."""

VARIANTS = (None, "fp16", "bf16")
"""The variants of weights in order of preference: float32, then half precision."""

_SHARD = re.compile(r"[\w.-]+\.safetensors")


@dataclass(frozen=True)
class Weights:
    """Holds the files of one network's weights as the libraries load them.

    Attributes:
        variant: the argument of ``from_pretrained``; None for files without a variant.
        index: the JSON file that maps tensors to shards, or None for a single file.
        files: the safetensors files, sorted by name.
    """

    variant: str | None
    index: Path | None
    files: tuple[Path, ...]


def library(part: str) -> str:
    """Return the library whose layout a part has."""
    return "transformers" if part.startswith("text_encoder") else "diffusers"


def weight_files(part: Path) -> list[Path]:
    """Return the safetensors files that are loaded of a part, sorted by name."""
    weights = find_weights(part)
    return [] if weights is None else list(weights.files)


def find_weights(part: Path) -> Weights | None:
    """Return the weights that are loaded of a part, or None without any that the libraries find.

    Raises:
        DataError: an index of shards cannot be read.
    """
    stem = "model" if library(part.name) == "transformers" else "diffusion_pytorch_model"
    for variant in VARIANTS:
        single = part / f"{stem}.{variant}.safetensors" if variant else part / f"{stem}.safetensors"
        end = f".{variant}.json" if variant else ".json"
        index = part / f"{stem}.safetensors.index{end}"
        # Where both exist, diffusers loads by the index and transformers loads the single file.
        sharded = index.exists() and not (library(part.name) == "transformers" and single.exists())
        if sharded:
            return Weights(variant, index, _shards(index))
        if single.exists():
            return Weights(variant, None, (single,))
    return None


def missing_weights(part: Path) -> str | None:
    """Return which weights of a part are missing and how to get them, or None where all exist.

    Raises:
        DataError: an index of shards cannot be read.
    """
    weights = find_weights(part)
    if weights is None:
        return _without_weights(part)
    names = [file.name for file in weights.files if not file.exists()]
    if not names:
        return None
    return (
        f"{part}: {len(names)} of {len(weights.files)} shards are missing, {', '.join(names[:3])}; "
        "download them again, or those of the whole part: hf download ID --include "
        f"'{part.name}/*' --local-dir {part.parent}"
    )


def check_weights(part: Path) -> Weights:
    """Return the weights of a part after a check that all files are complete; read headers only.

    Raises:
        DataError: a file is missing or damaged; says how to repair it.
    """
    missing = missing_weights(part)
    weights = find_weights(part)
    if missing or weights is None:
        raise DataError(missing)
    tensors = {file.name: header(file) for file in weights.files}
    if weights.index is not None:
        for name, shard in read_object(weights.index)["weight_map"].items():
            if name not in tensors[shard]:
                raise DataError(
                    f"{part / shard}: lacks {name}, which {weights.index.name} assigns to it; "
                    "download both files again"
                )
    return weights


def header(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a safetensors file.

    The library checks the length of the file against its header.

    Raises:
        DataError: the file is missing, a Git LFS pointer, truncated, or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    refuse_pointer(file)
    try:
        with safe_open(file, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{file}: truncated, damaged or no safetensors file ({file.stat().st_size:,} bytes: "
            f"{error}); copy or download it again"
        ) from error


def conversion(part: Path) -> str:
    """Return Python code that writes a part's pickled weights as safetensors next to them."""
    where = json.dumps(str(part))
    return (
        f"from {library(part.name)} import {NETWORKS[part.name]} as M; "
        f"M.from_pretrained({where}, use_safetensors=False).save_pretrained({where})"
    )


def _shards(index: Path) -> tuple[Path, ...]:
    shards = read_object(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise DataError(f"{index}: weight_map is missing or empty; copy or download the file again")
    for shard in shards.values():
        # Only names are allowed: a path could leave the directory of the model.
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise DataError(
                f"{index}: weight_map names {shard!r}, which is no safetensors file of this "
                "directory"
            )
    return tuple(index.parent / name for name in sorted(set(shards.values())))


def _without_weights(part: Path) -> str:
    names = sorted(file.name for file in part.iterdir())
    others = [name for name in names if name.endswith(".safetensors")]
    if others:
        return (
            f"{part}: no weights under a name that diffusers loads, only {others[0]}; needed is a "
            "plain or an fp16 safetensors file, or its shards with their index"
        )
    pickled = [name for name in names if name.endswith((".bin", ".ckpt", ".pt", ".pth"))]
    if pickled:
        return (
            f"{part}: no safetensors weights; pickled ones are not read, {pickled[0]}; if you "
            f"trust their source, convert them: {python_command(conversion(part))}"
        )
    return f"{part}: no weights; download the model's safetensors files again"
