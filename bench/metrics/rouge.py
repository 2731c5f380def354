"""ROUGE-L (Lin, Text Summarization Branches Out 2004, section 3): common words in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.types.texts import words


def rouge_l(claims: Sequence[str], truths: Sequence[str]) -> NDArray[np.float64]:
    """Return the F-measure of the longest common subsequence of words of each pair of texts.

    Args:
        claims: N texts.
        truths: the N true texts.

    Returns:
        ``(N,)`` in [0, 1]; 1 for two texts without a word.

    Example:
        >>> rouge_l(["a red hat"], ["a man with a red hat"]).round(3).tolist()
        [0.667]
    """
    first, second = [words(text) for text in claims], [words(text) for text in truths]
    common = lcs_lengths(first, second)
    total = np.array(
        [len(a) + len(b) for a, b in zip(first, second, strict=True)], dtype=np.float64
    )
    # F = 2PR / (P + R) with P = common / claim and R = common / truth.
    return np.where(total > 0, 2 * common / np.maximum(total, 1), 1.0)


def rouge_table(claims: Sequence[str], truths: Sequence[str]) -> NDArray[np.float64]:
    """Return :func:`rouge_l` of every claim with every truth, ``(N, M)``."""
    pairs = [(a, b) for a in claims for b in truths]
    if not pairs:
        return np.zeros((len(claims), len(truths)))
    return rouge_l([a for a, _ in pairs], [b for _, b in pairs]).reshape(len(claims), len(truths))


def lcs_lengths(
    first: Sequence[Sequence[str]], second: Sequence[Sequence[str]]
) -> NDArray[np.int32]:
    """Return the length of the longest common subsequence of each pair, ``(N,)``.

    Args:
        first: N sequences of words.
        second: N sequences of words.
    """
    numbers = {
        word: i for i, word in enumerate(dict.fromkeys(w for row in (*first, *second) for w in row))
    }
    a, b = _table(first, numbers, -1), _table(second, numbers, -2)  # paddings that never agree
    above = np.zeros((len(b) + 1, len(first)), dtype=np.int32)
    for word in a:
        row = np.zeros_like(above)
        for j, other in enumerate(b):
            row[j + 1] = np.where(word == other, above[j] + 1, np.maximum(above[j + 1], row[j]))
        above = row
    last: NDArray[np.int32] = above[-1]
    return last


def _table(
    rows: Sequence[Sequence[str]], numbers: dict[str, int], padding: int
) -> NDArray[np.int32]:
    """Return word numbers, ``(longest, N)``: one contiguous row for each position in the text."""
    table = np.full((max(map(len, rows), default=0), len(rows)), padding, dtype=np.int32)
    for i, row in enumerate(rows):
        table[: len(row), i] = [numbers[word] for word in row]
    return table
