"""The public text encoder, as an attacker on prompts may use it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prefix:
    """What a causal encoder keeps of the tokens that it has read.

    Attributes:
        keys, values: of every layer, ``(N, heads, length, width)``.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        """Tokens read, the same for each of the N rows."""
        return int(self.keys[0].shape[2])

    def take(self, rows: Tensor) -> Prefix:
        """The prefixes at ``rows``, in that order; a row may be taken several times."""
        return Prefix(tuple(k[rows] for k in self.keys), tuple(v[rows] for v in self.values))


class PublicText(ABC):
    """A frozen causal text encoder with its tokenizer (METHODS 5.1).

    Attributes:
        vocabulary: number of token ids, V.
        length: tokens of every encoded prompt, L: start, words, end, padding.
        start, end, padding: ids of the special tokens; ``padding`` may equal ``end``.
    """

    vocabulary: int
    length: int
    start: int
    end: int
    padding: int

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """``(N, L)`` int64 ids, on the CPU; overlong prompts are cut."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids without special tokens. Blanks around marks may differ from the original's."""

    @abstractmethod
    def states(self, ids: Tensor) -> Tensor:
        """The states that the diffusion model takes, ``(N, L', D)`` float32, of ids ``(N, L')``."""

    def pooled(self, ids: Tensor) -> Tensor | None:
        """One embedding for each whole prompt, ``(N, P)``, of ids ``(N, L)``; None where the model takes none."""
        return None

    @abstractmethod
    def embeddings(self) -> Tensor:
        """The table of token embeddings, ``(V, E)``."""

    @abstractmethod
    def states_of_embeddings(self, embedded: Tensor) -> Tensor:
        """As ``states``, of token embeddings ``(N, L', E)`` without positions; differentiable."""

    @abstractmethod
    def begin(self, count: int) -> Prefix:
        """``count`` prefixes that hold the start token."""

    @abstractmethod
    def candidates(self, prefix: Prefix, tokens: Tensor) -> Tensor:
        """States at the next position, ``(N, C, D)``, were it each of the C ``tokens`` ``(N, C)`` or ``(1, C)``."""

    @abstractmethod
    def extend(self, prefix: Prefix, tokens: Tensor) -> Prefix:
        """The prefixes after reading one more token each, ``(N,)``."""

    def content(self, ids: Sequence[int]) -> tuple[int, ...]:
        """What stands between the start and the first end."""
        rest = list(ids)[1:] if len(ids) and ids[0] == self.start else list(ids)
        return tuple(rest[: rest.index(self.end)] if self.end in rest else rest)

    def tokens(self, prompts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Ids of each prompt without special tokens, cut at what the encoder takes."""
        return tuple(self.content(row) for row in self.encode(prompts).tolist()) if prompts else ()

    def filled(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """``(N, L)`` ids of contents: with start, end and padding around them, cut at the encoder's length."""
        table = torch.full((len(rows), self.length), self.padding, dtype=torch.long)
        for i, row in enumerate(rows):
            kept = [self.start, *list(row)[: self.length - 2], self.end]
            table[i, : len(kept)] = torch.tensor(kept)
        return table
