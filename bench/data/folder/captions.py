"""Turns what a folder says of a picture into one prompt."""

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
"""Of text without blanks; 75 tokens are never as long."""
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Caption:
    """The prompt of one picture.

    Attributes:
        text: empty where nothing is said of the picture.
        cut: words beyond what any text encoder keeps were cut off.
        drawn: one of several captions.
    """

    text: str
    cut: bool = False
    drawn: bool = False


def read_caption(value: object, where: str, *, column: str, name: str, seed: int) -> Caption:
    """The caption in a column of the metadata: a text, a list of texts, or None.

    Args:
        name: of the picture; with ``seed`` it decides which of several captions is drawn.

    Raises:
        DataError: something else, or text that is no Unicode.
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
            f"{where}: {column!r} must be a text, a list of texts or null, not {type(value).__name__}"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: {column!r} holds half a Unicode character at position {error.start}"
        ) from error
    return value


def _cut(text: str, *, drawn: bool) -> Caption:
    """At most ``MOST_WORDS`` words and ``MOST_CHARACTERS`` characters; how many tokens are kept the model says."""
    end = len(text)
    for number, word in enumerate(_WORD.finditer(text), start=1):
        if number == MOST_WORDS:
            end = word.end()
            break
    end = min(end, MOST_CHARACTERS)
    return Caption(text[:end].rstrip(), cut=end < len(text), drawn=drawn)


def caption_notes(captions: Sequence[Caption], names: Sequence[str], seed: int) -> list[str]:
    """One sentence on captions that are cut, empty or drawn, each with the count."""
    total = len(captions)
    reasons = (
        (
            "cut",
            f"are longer than {MOST_WORDS} words, which no text encoder of Stable Diffusion keeps; they are cut",
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
