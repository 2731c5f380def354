"""The two text encoders of Stable Diffusion XL as one public text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.interfaces import Prefix, PublicText
from victims.stable_diffusion.clip_text import ClipText


@dataclass(frozen=True, eq=False)
class PairedPrefix(Prefix):
    """Holds keys and values of the first encoder's layers, then of the second's.

    Attributes:
        ended: whether the prefix contains the end token, ``(N,)``.
    """

    ended: Tensor

    def take(self, rows: Tensor) -> PairedPrefix:
        taken = super().take(rows)
        return PairedPrefix(taken.keys, taken.values, self.ended[rows.to(self.ended.device)])


class PairedText(PublicText):
    """Concatenates the penultimate states of both encoders (arXiv:2307.01952, section 2.1).

    Both encoders read equal tokens and differ in the padding after the end, so ids are those of the
    first tokenizer, and the padding is replaced for the second encoder. Both are causal, so a
    prompt is decoded token by token as with one encoder.

    The second encoder pads with the token ``!``. Within a prompt this token remains an exclamation
    mark, as in OpenCLIP, with which the encoder was trained; diffusers' second tokenizer treats it
    as padding there too.

    Args:
        encoder: a frozen CLIPTextModel.
        tokenizer: the tokenizer of ``encoder``.
        encoder_2: a frozen CLIPTextModelWithProjection with equal vocabulary and length.
        tokenizer_2: the tokenizer of ``encoder_2``.
        device: device of both encoders.
    """

    def __init__(
        self, encoder: Any, tokenizer: Any, encoder_2: Any, tokenizer_2: Any, device: str
    ) -> None:
        self._first = ClipText(encoder, tokenizer, device, penultimate=True)
        self._second = ClipText(encoder_2, tokenizer_2, device, penultimate=True)
        self.vocabulary, self.length = self._first.vocabulary, self._first.length
        self.start, self.end, self.padding = self._first.start, self._first.end, self._first.padding

    def encode(self, prompts: Sequence[str]) -> Tensor:
        return self._first.encode(prompts)

    def decode(self, ids: Sequence[int]) -> str:
        return self._first.decode(ids)

    def states(self, ids: Tensor) -> Tensor:
        return torch.cat([self._first.states(ids), self._second.states(self._repadded(ids))], -1)

    def pooled(self, ids: Tensor) -> Tensor:
        return self._second.projected(self._repadded(ids))

    def embeddings(self) -> Tensor:
        return torch.cat([self._first.embeddings(), self._second.embeddings()], 1)

    def states_of_embeddings(self, embedded: Tensor) -> Tensor:
        """Return the states of given embeddings ``(N, T, D)`` of both encoders.

        Embeddings do not show which tokens are padding, so after the end the second encoder's part
        must hold the embedding of its padding.
        """
        width = self._first.embeddings().shape[1]
        parts = embedded[..., :width], embedded[..., width:]
        return torch.cat(
            [
                self._first.states_of_embeddings(parts[0]),
                self._second.states_of_embeddings(parts[1]),
            ],
            -1,
        )

    def begin(self, count: int) -> PairedPrefix:
        return self._joined(
            self._first.begin(count),
            self._second.begin(count),
            torch.zeros(count, dtype=torch.bool),
        )

    def candidates(self, prefix: Prefix, tokens: Tensor) -> Tensor:
        first, second, ended = self._parts(prefix)
        return torch.cat(
            [
                self._first.candidates(first, tokens),
                self._second.candidates(second, self._padded(tokens, ended)),
            ],
            -1,
        )

    def extend(self, prefix: Prefix, tokens: Tensor) -> PairedPrefix:
        first, second, ended = self._parts(prefix)
        return self._joined(
            self._first.extend(first, tokens),
            self._second.extend(second, self._padded(tokens.unsqueeze(1), ended).squeeze(1)),
            ended | (tokens.to(ended.device) == self.end),
        )

    def _joined(self, first: Prefix, second: Prefix, ended: Tensor) -> PairedPrefix:
        return PairedPrefix(first.keys + second.keys, first.values + second.values, ended)

    def _parts(self, prefix: Prefix) -> tuple[Prefix, Prefix, Tensor]:
        assert isinstance(prefix, PairedPrefix)
        cut = self._first.depth
        first, second = (
            Prefix(prefix.keys[part], prefix.values[part])
            for part in (slice(cut), slice(cut, None))
        )
        return first, second, prefix.ended

    def _padded(self, tokens: Tensor, ended: Tensor) -> Tensor:
        """Return next tokens ``(N, C)`` or ``(1, C)`` with the second encoder's padding."""
        if not bool(ended.any()):
            return tokens
        padding = ended.unsqueeze(1) & (tokens.to(ended.device) == self.padding)
        return torch.where(padding, self._second.padding, tokens.to(ended.device))

    def _repadded(self, ids: Tensor) -> Tensor:
        """Return ids ``(N, L)`` with the second encoder's padding."""
        ends = ids == self.end
        behind = ends.cumsum(1) - ends.long() > 0
        return torch.where(behind & (ids == self.padding), self._second.padding, ids)
