"""Check a model's directory before anything is trained from it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from victims.stable_diffusion.model_kind import (
    INDEX,
    PARTS,
    SDXL,
    TOKENIZERS,
    WEIGHTED,
    check_configurations,
    components,
    model_kind,
)
from victims.stable_diffusion.networks import check_network
from victims.stable_diffusion.noise_schedule import read_scheduler
from victims.stable_diffusion.tokenizer import check_same_words, check_tokenizer
from victims.stable_diffusion.weight_files import check_weights, missing_weights

Signature = tuple[tuple[str, int, int], ...]


def missing_part(path: Path) -> str | None:
    """Return what a directory lacks to be a whole model, or None.

    Whether its files are sound is not checked.

    Raises:
        DataError: the directory holds another kind of model, or its index cannot be read.
    """
    components(path)
    if not (path / "unet").is_dir():
        return _not_a_model(path, "unet")
    if not (path / "unet" / "config.json").exists():
        return f"{path / 'unet' / 'config.json'}: file is missing; copy or download the model again"
    kind = model_kind(path)
    for part in PARTS[kind]:
        if not (path / part).is_dir():
            return _not_a_model(path, part)
    for part in WEIGHTED[kind]:
        missing = missing_weights(path / part)
        if missing:
            return missing
    return None


def check_model(path: Path) -> None:
    """Check configurations, vocabulary and the headers of all weights.

    A model that passed is not read again while its files keep their sizes and times.

    Raises:
        DataError: names the file, its defect, and how to repair it.
    """
    _check(path, _signature(path))


@lru_cache(maxsize=16)
def _check(path: Path, signature: Signature) -> None:
    kind = model_kind(path)
    check_configurations(path, kind)
    for part in WEIGHTED[kind]:
        check_weights(path / part)
    for part in TOKENIZERS[kind]:
        check_tokenizer(path / part, path / part.replace("tokenizer", "text_encoder"))
    if kind == SDXL:
        check_same_words(*(path / part for part in TOKENIZERS[kind]))
    read_scheduler(path / "scheduler")
    for part in WEIGHTED[kind]:
        check_network(path / part)


def _signature(path: Path) -> Signature:
    parts = sorted({part for parts in PARTS.values() for part in parts})
    files = [path / INDEX, *(file for part in parts for file in (path / part).glob("*"))]
    stats = [(file, file.stat()) for file in files if file.is_file()]
    return tuple((str(file), stat.st_size, stat.st_mtime_ns) for file, stat in sorted(stats))


def _not_a_model(path: Path, part: str) -> str:
    """Return a message with the missing part and the directory that was probably meant."""
    start = f"{path}: not a diffusers Stable Diffusion directory, {part}/ is missing"
    if (path / "snapshots").is_dir():
        return f"{start}; give one of the directories in {path / 'snapshots'}"
    if (path / "config.json").is_file() and (path.parent / "unet").is_dir():
        return f"{start}; this is one part of a model, give {path.parent}"
    return start
