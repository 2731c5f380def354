"""The files of a Stable Diffusion in diffusers layout: where they are, whether they fit, what they hash to."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from bench.errors import DataError, RequestError
from bench.files import read_json, sha256_file
from victims import hub, sdxl_files

POCKET = Path(__file__).parent / "pocket" / "weights"
WEIGHTED = ("vae", "unet", "text_encoder")
PARTS = (*WEIGHTED, "tokenizer", "scheduler")

_WEIGHTS = re.compile(r"(diffusion_pytorch_)?model(-\d{5}-of-\d{5})?\.safetensors")


def locate(model: str) -> Path:
    """The directory of a model: ``pocket``, a path, or a hub id ``owner/name[@commit]``.

    A hub id is the only thing that may reach the network, and only where its snapshot is not complete in
    the local cache; only safetensors, JSON and vocabulary files are fetched.

    Raises:
        RequestError: nothing there, or the hub cannot be reached.
        DataError: the directory is not a complete diffusers Stable Diffusion.
    """
    path = POCKET if model == "pocket" else Path(model).expanduser()
    if not path.is_dir():
        if model == "pocket" or not hub.is_hub_id(model):
            raise RequestError(f"model {model!r}: no such directory, and not a hub id such as owner/name@COMMIT")
        snapshot = hub.cached(model)
        path = hub.download(model) if snapshot is None or _flaw(snapshot) else snapshot
    flaw = _flaw(path)
    if flaw:
        raise DataError(flaw)
    return path


def _flaw(path: Path) -> str | None:
    """What makes a directory unusable, or None."""
    for part in PARTS:
        if not (path / part).is_dir():
            return f"{path}: not a diffusers Stable Diffusion directory, {part}/ is missing"
    xl = sdxl_files.is_xl(path)
    for part in sdxl_files.PARTS if xl else ():
        if not (path / part).is_dir():
            return f"{path}: not a diffusers Stable Diffusion XL directory, {part}/ is missing"
    for part in (*WEIGHTED, *(sdxl_files.WEIGHTED if xl else ())):
        if not weight_files(path / part):
            variants = sorted(file.name for file in (path / part).glob("*.safetensors"))
            if variants:
                return f"{path / part}: only a variant, {variants[0]}; the plain float32 model.safetensors is needed"
            return f"{path / part}: no safetensors weights; pickled ones are not read, convert them first"
    return None


def weight_files(part: Path) -> list[Path]:
    """The safetensors files that make up a part, sorted; variants such as ``fp16`` and ``non_ema`` are not used."""
    return sorted(file for file in part.glob("*.safetensors") if _WEIGHTS.fullmatch(file.name))


def fingerprint(path: Path) -> str:
    """sha256 over every weight, configuration and vocabulary file of a model directory that is used."""
    digest = hashlib.sha256()
    xl = sdxl_files.is_xl(path)
    if xl:
        digest.update(f"zeros for no prompt: {sdxl_files.zeros_for_no_prompt(path)}\n".encode())
    for part in (*PARTS, *(sdxl_files.PARTS if xl else ())):
        weights = weight_files(path / part)
        for file in sorted((path / part).iterdir()):
            if file in weights or file.suffix in (".json", ".txt"):
                digest.update(f"{part}/{file.name} {sha256_file(file)}\n".encode())
    return digest.hexdigest()


def check_size(path: Path, image_size: int) -> None:
    """Refuse sizes that a model's networks cannot halve evenly; reads its configuration only.

    Raises:
        RequestError: with the multiple that fits.
        DataError: a configuration is missing or malformed.
    """
    step = 2 ** (_blocks(path, "vae") + _blocks(path, "unet") - 2)
    if image_size % step:
        raise RequestError(f"image size {image_size}: this model needs a multiple of {step}")


def native_size(path: Path) -> int:
    """Side in pixels of the pictures that a model was made for.

    Raises:
        DataError: a configuration is missing or malformed.
    """
    side = _entry(path, "unet", "sample_size")
    return int(side) * 2 ** (_blocks(path, "vae") - 1)


def conv_in_report(path: Path) -> dict[str, float]:
    """Rank and condition number of ``conv_in`` as a linear map from a 3x3 patch to its features.

    Full column rank means that the noisy latent can be read off ``unet_features`` exactly.

    Raises:
        DataError: the UNet's files hold no ``conv_in``.
    """
    import torch
    from safetensors import safe_open

    for file in weight_files(path / "unet"):
        with safe_open(file, framework="pt") as tensors:
            if "conv_in.weight" in tensors.keys():  # noqa: SIM118
                matrix = tensors.get_tensor("conv_in.weight").double().flatten(1)
                values = torch.linalg.svdvals(matrix)
                return {
                    "rows": matrix.shape[0],
                    "columns": matrix.shape[1],
                    "rank": int(torch.linalg.matrix_rank(matrix)),
                    "condition": float(values[0] / values[-1]),
                }
    raise DataError(f"{path / 'unet'}: no conv_in.weight in any safetensors file")


def _blocks(path: Path, part: str) -> int:
    return len(_entry(path, part, "block_out_channels"))


def _entry(path: Path, part: str, key: str) -> Any:
    file = path / part / "config.json"
    try:
        return read_json(file)[key]
    except (KeyError, TypeError) as error:
        raise DataError(f"{file}: {key} is missing") from error
