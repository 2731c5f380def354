"""Texts that are claimed or true, for prompts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.util.errors import BenchError

_WORDS = re.compile(r"\w+")
_WORDS_AND_MARKS = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Texts:
    """One text per record.

    Attributes:
        texts: the texts.
        tokens: the token ids from which each text was decoded, without start, end and padding, or
            None. A text decoded from wrong tokens need not be split into the same tokens again.

    Raises:
        BenchError: texts and token rows differ in number.
    """

    texts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        if self.tokens is not None and len(self.tokens) != len(self.texts):
            raise BenchError(f"{len(self.texts)} texts but {len(self.tokens)} rows of tokens")

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, index: list[int]) -> Texts:
        """Return the texts at ``index``, in that order."""
        tokens = None if self.tokens is None else tuple(self.tokens[i] for i in index)
        return Texts(tuple(self.texts[i] for i in index), tokens)


def words(text: str) -> list[str]:
    """Return the lower-cased words of a text in order, without blanks and punctuation."""
    return _WORDS.findall(text.lower())


def words_and_marks(text: str) -> list[str]:
    """Return the lower-cased words and punctuation marks of a text in order, without blanks."""
    return _WORDS_AND_MARKS.findall(text.lower())
