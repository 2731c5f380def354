"""Order in which tokens are tried, from the attacker's prompts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from bench.interfaces import PublicText


class TokenOrder:
    """Successors in auxiliary prompts by frequency, then all other tokens of them by frequency.

    It only sets the order of trials; the states decide which token is taken.
    """

    def __init__(self, text: PublicText, prompts: Sequence[str]) -> None:
        self._successors: dict[int, Counter[int]] = defaultdict(Counter)
        self._single: Counter[int] = Counter()
        for content in text.tokens(prompts):
            row = [text.start, *content, text.end]
            self._single.update(row[1:])
            for before, after in pairwise(row):
                self._successors[before][after] += 1

    def after(self, tokens: Sequence[int], count: int) -> Tensor:
        """Return different tokens ``(N, count)`` to try after each of ``tokens``.

        There are fewer columns where fewer tokens are known.
        """
        rows = [self._after(token, count) for token in tokens]
        return torch.tensor([row[: min(map(len, rows))] for row in rows], dtype=torch.long)

    def _after(self, token: int, count: int) -> list[int]:
        following = [t for t, _ in self._successors[token].most_common(count)]
        others = (t for t, _ in self._single.most_common() if t not in self._successors[token])
        return [
            *following,
            *(t for t, _ in zip(others, range(count - len(following)), strict=False)),
        ]
