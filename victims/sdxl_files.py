"""What a directory of Stable Diffusion XL holds besides the parts of every Stable Diffusion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.files import read_json

WEIGHTED = ("text_encoder_2",)
PARTS = (*WEIGHTED, "tokenizer_2")


def is_xl(path: Path) -> bool:
    """Whether the UNet of a directory takes pooled text and time ids; False where it has no configuration.

    Raises:
        DataError: the UNet takes other conditions, which no part of a directory supplies.
    """
    kind = _entries(path / "unet" / "config.json").get("addition_embed_type")
    if kind not in (None, "text_time"):
        raise DataError(
            f"{path / 'unet'}: the UNet takes conditions of the kind {kind!r}; "
            "Stable Diffusion 1.x, 2.x and XL are known here, give one of those"
        )
    return kind == "text_time"


def zeros_for_no_prompt(path: Path) -> bool:
    """Whether no prompt means zeros instead of the states of the empty prompt, by the key and default of diffusers."""
    return bool(_entries(path / "model_index.json").get("force_zeros_for_empty_prompt", True))


def _entries(file: Path) -> dict[str, Any]:
    found = read_json(file) if file.is_file() else {}
    if not isinstance(found, dict):
        raise DataError(f"{file}: not a configuration")
    return found
