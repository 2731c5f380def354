"""The directory of a Stable Diffusion: its place, its hash, and the picture sizes it takes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench.interfaces import DataError, RequestError
from bench.util.files import sha256_file
from victims.stable_diffusion import hub, single_file
from victims.stable_diffusion.file_checks import read_object, required_entry
from victims.stable_diffusion.model_checks import check_model, missing_part
from victims.stable_diffusion.model_kind import (
    INDEX,
    PARTS,
    SDXL,
    TOKENIZERS,
    WEIGHTED,
    model_kind,
    zeros_for_no_prompt,
)
from victims.stable_diffusion.noise_schedule import CONFIG
from victims.stable_diffusion.tokenizer import FILES
from victims.stable_diffusion.weight_files import header, weight_files

POCKET = Path(__file__).parents[1] / "pocket" / "weights"


def locate(model: str) -> Path:
    """Return the checked directory of a model.

    Only a hub id may reach the network, and only where its snapshot is not complete in the local
    cache; only safetensors, JSON and vocabulary files are fetched.

    Args:
        model: ``pocket``, a path, or a hub id ``owner/name[@commit]``.

    Raises:
        RequestError: there is no such directory, it is a single file, or the hub cannot be reached.
        DataError: the directory is not a complete and sound Stable Diffusion in diffusers layout
            (``check_model``).
    """
    path = POCKET if model == "pocket" else Path(model).expanduser()
    if not path.is_dir():
        path = _snapshot(model, path)
    missing = missing_part(path)
    if missing:
        raise DataError(missing + _single_file_hint(path))
    check_model(path)
    return path


def _snapshot(model: str, path: Path) -> Path:
    """Return the snapshot of a hub id, downloaded where it is not complete in the cache."""
    if single_file.is_single_file(model):
        raise RequestError(single_file.refusal(path))
    if (
        "@" not in model
        and model not in hub.PINNED
        and path.parent != Path()
        and path.parent.is_dir()
    ):
        folders = sorted(folder.name for folder in path.parent.iterdir() if folder.is_dir())
        raise RequestError(
            f"model {model!r}: no such directory; {path.parent} has "
            f"{', '.join(folders[:8]) or 'none'}"
        )
    if model == "pocket" or not hub.is_hub_id(model):
        raise RequestError(
            f"model {model!r}: no such directory, and not a hub id such as owner/name@COMMIT"
        )
    snapshot = hub.cached_snapshot(model)
    return hub.download(model) if snapshot is None or missing_part(snapshot) else snapshot


def _single_file_hint(path: Path) -> str:
    """Return a hint where a directory holds a single-file checkpoint instead of a model's parts."""
    file = next(
        (file for file in sorted(path.glob("*.safetensors")) if not (path / INDEX).exists()), None
    )
    return "" if file is None else f"; {single_file.refusal(file)}"


def fingerprint(path: Path) -> str:
    """Return a sha256 over the files of a model directory that are used.

    Equal bytes give equal hashes on all machines. The hash covers, sorted by name within each part,
    the path of each file below the directory and the sha256 of its content: of networks
    ``config.json`` and the weights that are loaded (not the index of shards, nor other variants),
    of tokenizers ``victims.stable_diffusion.tokenizer.FILES``, and of the scheduler its
    configuration. For Stable Diffusion XL it also covers whether no prompt means zeros. Other files
    in the directory, such as a README, do not count.
    """
    digest = hashlib.sha256()
    kind = model_kind(path)
    if kind == SDXL:
        digest.update(f"zeros for no prompt: {zeros_for_no_prompt(path)}\n".encode())
    for part in PARTS[kind]:
        for file in _used(path / part, kind):
            digest.update(f"{part}/{file.name} {sha256_file(file)}\n".encode())
    return digest.hexdigest()


def _used(part: Path, kind: str) -> list[Path]:
    """Return the files that are loaded of a part, sorted by name."""
    if part.name in WEIGHTED[kind]:
        files = [part / "config.json", *weight_files(part)]
    elif part.name in TOKENIZERS[kind]:
        files = [part / name for name in FILES if (part / name).exists()]
    else:
        files = [part / CONFIG]
    return sorted(files, key=lambda file: file.name)


def check_size(path: Path, image_size: int) -> None:
    """Refuse picture sizes that a model's networks cannot halve evenly.

    Only configurations are read.

    Raises:
        RequestError: names the multiple that fits.
        DataError: a configuration is missing or malformed.
    """
    step = 2 ** (_blocks(path, "vae") + _blocks(path, "unet") - 2)
    if image_size % step:
        raise RequestError(f"image size {image_size}: this model needs a multiple of {step}")


def native_size(path: Path) -> int:
    """Return the side in pixels of the pictures that a model was trained on.

    Raises:
        DataError: a configuration is missing or malformed.
    """
    file = path / "unet" / "config.json"
    side = required_entry(read_object(file), file, "sample_size")
    sides = side if isinstance(side, list) else [side]
    if not sides or not all(isinstance(one, int) and one > 0 for one in sides):
        raise DataError(
            f"{file}: sample_size is {side!r}, not the side of a latent; download the file again"
        )
    factor: int = 2 ** (_blocks(path, "vae") - 1)
    return int(max(sides)) * factor


def conv_in_report(path: Path) -> dict[str, float]:
    """Return rank and condition number of ``conv_in``.

    ``conv_in`` is taken as a linear map from a 3x3 patch to its features. With full column rank,
    the noisy latent can be read off ``unet_features`` exactly.

    Raises:
        DataError: the UNet's files hold no ``conv_in``.
    """
    import torch
    from safetensors import safe_open

    for file in weight_files(path / "unet"):
        if "conv_in.weight" in header(file):
            with safe_open(file, framework="pt") as tensors:
                matrix = tensors.get_tensor("conv_in.weight").double().flatten(1)
            values = torch.linalg.svdvals(matrix)
            return {
                "rows": matrix.shape[0],
                "columns": matrix.shape[1],
                "rank": int(torch.linalg.matrix_rank(matrix)),
                "condition": float(values[0] / values[-1]),
            }
    raise DataError(
        f"{path / 'unet'}: no conv_in.weight in any safetensors file; download them again"
    )


def _blocks(path: Path, part: str) -> int:
    file = path / part / "config.json"
    blocks: list[int] = required_entry(read_object(file), file, "block_out_channels")
    return len(blocks)
