"""Says which prompts a model's text encoder cannot keep in whole."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.interfaces import Progress, Records
from bench.util.files import read_json
from bench.util.torchvision_guard import guard_torchvision

MARKS = 2
"""Tokens of every prompt that are not words: start and end."""


def note_overlong(model: Path, records: Records, progress: Progress) -> None:
    """Note how many prompts will be cut at the text encoder's length, and the record of the first.

    Captions of any length are common, so they are no error; but what a row says of the prompt then
    holds for its beginning only.

    Args:
        model: a directory in diffusers layout.
    """
    kept = int(read_json(model / "text_encoder" / "config.json")["max_position_embeddings"])
    tokens = _tokenizer(model)(list(records.prompts), truncation=False, verbose=False).input_ids
    long = [
        (name, len(ids)) for name, ids in zip(records.ids, tokens, strict=True) if len(ids) > kept
    ]
    if long:
        name, count = long[0]
        progress.note(
            f"{len(long)} of {len(records)} prompts are longer than the {kept - MARKS} tokens that the model keeps; "
            f"their ends are cut off, the first is that of record {name!r} with {count - MARKS} tokens"
        )


@lru_cache(maxsize=4)
def _tokenizer(model: Path) -> Any:
    guard_torchvision()
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(model / "tokenizer", local_files_only=True)
