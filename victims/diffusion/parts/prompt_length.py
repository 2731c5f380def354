"""Report prompts that the text encoder truncates."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.interfaces import Progress, Records
from bench.util.files import read_json
from victims.stable_diffusion.tokenizer import read_tokenizer

MARKS = 2
"""How many tokens of every prompt are not words: start and end."""


def note_overlong(model: Path, records: Records, progress: Progress) -> None:
    """Note how many prompts the text encoder truncates, and the record of the first.

    Long captions are common, so they are no error; but scores of the prompt then hold for its
    beginning only.

    Args:
        model: a directory in diffusers layout.
        records: the records with their prompts.
        progress: receives the note.
    """
    kept = int(read_json(model / "text_encoder" / "config.json")["max_position_embeddings"])
    tokens = _tokenizer(model)(list(records.prompts), truncation=False, verbose=False).input_ids
    long = [
        (name, len(ids)) for name, ids in zip(records.ids, tokens, strict=True) if len(ids) > kept
    ]
    if long:
        name, count = long[0]
        progress.note(
            f"{len(long)} of {len(records)} prompts are longer than the {kept - MARKS} tokens that "
            f"the model keeps; their ends are cut off, the first is that of record {name!r} with "
            f"{count - MARKS} tokens"
        )


@lru_cache(maxsize=4)
def _tokenizer(model: Path) -> Any:
    return read_tokenizer(model / "tokenizer")
