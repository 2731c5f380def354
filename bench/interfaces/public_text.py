"""The public text encoder as an attacker on prompts may use it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prefix:
    """The state of a causal encoder after it has read some tokens.

    Attributes:
        keys: attention keys of every layer, ``(N, heads, length, width)``.
        values: attention values of every layer, ``(N, heads, length, width)``.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        """The number of tokens read, equal for all N rows."""
        return int(self.keys[0].shape[2])

    def take(self, rows: Tensor) -> Prefix:
        """Return the prefixes at ``rows``, in that order; a row may be taken several times."""
        return Prefix(tuple(k[rows] for k in self.keys), tuple(v[rows] for v in self.values))


class PublicText(ABC):
    """A frozen causal text encoder with its tokenizer.

    Attributes:
        vocabulary: number of token ids, V.
        length: tokens of every encoded prompt, L: start, words, end, padding.
        start: id of the start token.
        end: id of the end token.
        padding: id of the padding token; it may equal ``end``.
    """

    vocabulary: int
    length: int
    start: int
    end: int
    padding: int

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Return the token ids of prompts, ``(N, L)`` int64 on the CPU; long ones are truncated."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without special tokens.

        Blanks around punctuation may differ from those of the original text.
        """

    @abstractmethod
    def states(self, ids: Tensor) -> Tensor:
        """Return the text-encoder states of ids ``(N, L')``, ``(N, L', D)`` float32."""

    def pooled(self, ids: Tensor) -> Tensor | None:
        """Return one embedding per prompt, ``(N, P)``, or None where the model takes none.

        Args:
            ids: whole prompts, ``(N, L)``.
        """
        return None

    @abstractmethod
    def embeddings(self) -> Tensor:
        """Return the table of token embeddings, ``(V, E)``."""

    @abstractmethod
    def states_of_embeddings(self, embedded: Tensor) -> Tensor:
        """Return the states of token embeddings ``(N, L', E)`` without positions.

        The result, ``(N, L', D)``, is differentiable in the embeddings.
        """

    @abstractmethod
    def begin(self, count: int) -> Prefix:
        """Return ``count`` prefixes that hold the start token."""

    @abstractmethod
    def candidates(self, prefix: Prefix, tokens: Tensor) -> Tensor:
        """Return the states at the next position for each candidate token, ``(N, C, D)``.

        Args:
            prefix: what was read so far, N rows.
            tokens: ids to try at the next position, ``(N, C)`` or ``(1, C)`` int64.
        """

    @abstractmethod
    def extend(self, prefix: Prefix, tokens: Tensor) -> Prefix:
        """Return the prefixes after one more token each, ``(N,)`` int64."""

    def content(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Return the ids between the start token and the first end token."""
        rest = list(ids)[1:] if len(ids) and ids[0] == self.start else list(ids)
        return tuple(rest[: rest.index(self.end)] if self.end in rest else rest)

    def tokens(self, prompts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Return the ids of each prompt without special tokens, at most ``length - 2`` of them."""
        return tuple(self.content(row) for row in self.encode(prompts).tolist()) if prompts else ()

    def filled(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return contents as ids ``(N, L)``, with start, end and padding around them.

        Contents longer than ``length - 2`` are truncated.
        """
        table = torch.full((len(rows), self.length), self.padding, dtype=torch.long)
        for i, row in enumerate(rows):
            kept = [self.start, *list(row)[: self.length - 2], self.end]
            table[i, : len(kept)] = torch.tensor(kept)
        return table
