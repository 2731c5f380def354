"""Turns the captions of a folder into one prompt per picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.util.errors import DataError
from bench.util.rng import generator

MOST_WORDS = 75
"""The text encoders of Stable Diffusion keep 75 tokens, and a word is at least one."""
MOST_CHARACTERS = 4000
"""Limit for text without blanks; 75 tokens are never longer."""
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Caption:
    """The prompt of one picture.

    Attributes:
        text: the prompt; empty where the folder has none.
        cut: whether words beyond the length of every text encoder were removed.
        drawn: whether it is one of several captions.
    """

    text: str
    cut: bool = False
    drawn: bool = False


def read_caption(value: object, where: str, *, column: str, name: str, seed: int) -> Caption:
    """Return the caption in a column of the metadata: a text, a list of texts, or None.

    Args:
        value: the value in the column.
        where: the file and line, for messages.
        column: the column, for messages.
        name: name of the picture; with ``seed`` it decides which of several captions is drawn.
        seed: seed of the draw.

    Raises:
        DataError: the value is of another type, or the text is no valid Unicode.
    """
    if isinstance(value, list | tuple):
        texts = [text for one in value if (text := _text(one, where, column).strip())]
        if not texts:
            return Caption("")
        rng = generator(seed, "caption", name)
        chosen = texts[int(torch.randint(len(texts), (1,), generator=rng))]
        return _cut(chosen, drawn=len(texts) > 1)
    return _cut(_text(value, where, column).strip(), drawn=False)


def _text(value: object, where: str, column: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(
            f"{where}: {column!r} must be a text, a list of texts or null, not "
            f"{type(value).__name__}"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: {column!r} holds half a Unicode character at position {error.start}"
        ) from error
    return value


def _cut(text: str, *, drawn: bool) -> Caption:
    """Return at most ``MOST_WORDS`` words and ``MOST_CHARACTERS`` characters of a text.

    The model reports how many tokens it keeps.
    """
    end = len(text)
    for number, word in enumerate(_WORD.finditer(text), start=1):
        if number == MOST_WORDS:
            end = word.end()
            break
    end = min(end, MOST_CHARACTERS)
    return Caption(text[:end].rstrip(), cut=end < len(text), drawn=drawn)


def caption_notes(captions: Sequence[Caption], names: Sequence[str], seed: int) -> list[str]:
    """Return one sentence each on captions that are cut, empty or drawn, with their count."""
    total = len(captions)
    reasons = (
        (
            "cut",
            f"are longer than {MOST_WORDS} words, which no text encoder of Stable Diffusion keeps; "
            "they are cut",
        ),
        ("empty", "are empty"),
        ("drawn", f"are one of several captions, drawn by seed={seed}"),
    )
    found = {
        "cut": [n for n, c in zip(names, captions, strict=True) if c.cut],
        "empty": [n for n, c in zip(names, captions, strict=True) if not c.text],
        "drawn": [n for n, c in zip(names, captions, strict=True) if c.drawn],
    }
    return [
        f"{len(found[kind])} of {total} prompts {what} (the first is that of {found[kind][0]!r})"
        for kind, what in reasons
        if found[kind]
    ]
