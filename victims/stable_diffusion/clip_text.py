"""Stable Diffusion's public text encoder, with the prefix cache that transformers' CLIP lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Identity
from torch.nn.functional import scaled_dot_product_attention

from bench.interfaces import Prefix, PublicText

ROWS = 8192
"""How many states are computed together; bounds memory at 8192 times the widest layer."""


class ClipText(PublicText):
    """Computes states with CLIP's frozen text tower (Radford et al., arXiv:2103.00020).

    Attention is causal, so the state at a position depends only on the tokens up to this position.
    Keys and values of a prefix are kept for each layer, so that one more token costs one position
    instead of a whole sequence.

    Args:
        encoder: a text model of transformers.
        tokenizer: the encoder's tokenizer.
        device: device of the encoder.
        penultimate: whether states are the unnormalized inputs of the last layer instead of the
            tower's output.
    """

    def __init__(
        self, encoder: Any, tokenizer: Any, device: str, *, penultimate: bool = False
    ) -> None:
        self._encoder, self._tokenizer, self._device = encoder, tokenizer, device
        core = getattr(encoder, "text_model", encoder)  # transformers 5 removed the inner module
        self._embed, self._penultimate = core.embeddings, penultimate
        self._layers = core.encoder.layers[:-1] if penultimate else core.encoder.layers
        self._norm = Identity() if penultimate else core.final_layer_norm
        self.vocabulary = int(encoder.config.vocab_size)
        self.length = int(encoder.config.max_position_embeddings)
        self.start, self.end = int(tokenizer.bos_token_id), int(tokenizer.eos_token_id)
        self.padding = int(tokenizer.pad_token_id)

    @property
    def depth(self) -> int:
        """Return how many layers the states pass through."""
        return len(self._layers)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        ids: Tensor = self._tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        ).input_ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    @torch.no_grad()
    def states(self, ids: Tensor) -> Tensor:
        states: Tensor
        if self._penultimate:
            output = self._encoder(ids.to(self._device), output_hidden_states=True)
            states = output.hidden_states[-2]
        else:
            states = self._encoder(ids.to(self._device)).last_hidden_state
        return states

    @torch.no_grad()
    def projected(self, ids: Tensor) -> Tensor:
        """Return the projected output at the end token, ``(N, P)``.

        The encoder must have a projection.
        """
        embedded: Tensor = self._encoder(ids.to(self._device)).text_embeds
        return embedded

    def embeddings(self) -> Tensor:
        table: Tensor = self._embed.token_embedding.weight.detach()
        return table

    def states_of_embeddings(self, embedded: Tensor) -> Tensor:
        hidden = embedded + self._embed.position_embedding.weight[: embedded.shape[1]]
        for layer in self._layers:
            query, key, value = _projections(layer, layer.layer_norm1(hidden))
            hidden = _rest(
                layer, hidden, scaled_dot_product_attention(query, key, value, is_causal=True)
            )
        states: Tensor = self._norm(hidden)
        return states

    @torch.no_grad()
    def begin(self, count: int) -> Prefix:
        heads = [layer.self_attn.num_heads for layer in self._layers]
        widths = [layer.self_attn.head_dim for layer in self._layers]
        empty = tuple(
            torch.zeros(count, h, 0, w, device=self._device)
            for h, w in zip(heads, widths, strict=True)
        )
        return self.extend(Prefix(empty, empty), torch.full((count,), self.start))

    @torch.no_grad()
    def candidates(self, prefix: Prefix, tokens: Tensor) -> Tensor:
        rows = len(prefix.keys[0])
        chunk = max(1, ROWS // rows)
        return torch.cat(
            [self._next(prefix, part)[0] for part in torch.split(tokens, chunk, dim=1)], 1
        )

    @torch.no_grad()
    def extend(self, prefix: Prefix, tokens: Tensor) -> Prefix:
        _, keys, values = self._next(prefix, tokens.unsqueeze(1))
        return Prefix(
            tuple(torch.cat([old, new], 2) for old, new in zip(prefix.keys, keys, strict=True)),
            tuple(torch.cat([old, new], 2) for old, new in zip(prefix.values, values, strict=True)),
        )

    def _next(self, prefix: Prefix, tokens: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return final states ``(N, C, D)`` of candidates, and their keys and values by layer.

        Candidates are alternatives: each attends to its prefix and to itself, never to another
        candidate. Candidates that all prefixes share pass through the first layer's projections
        once.

        Args:
            prefix: keys and values of ``N`` prefixes.
            tokens: candidates for the next token, ``(N, C)``, or ``(1, C)`` for all prefixes.
        """
        place = self._embed.position_embedding.weight[prefix.length]
        hidden = self._embed.token_embedding(tokens.to(self._device)) + place
        own_keys, own_values = [], []
        for layer, keys, values in zip(self._layers, prefix.keys, prefix.values, strict=True):
            query, key, value = _projections(layer, layer.layer_norm1(hidden))
            own_keys.append(key)
            own_values.append(value)
            scale = layer.self_attn.scale
            to_prefix = query @ keys.transpose(-1, -2) * scale
            to_self = (query * key).sum(-1, keepdim=True).expand(*to_prefix.shape[:-1], 1) * scale
            weights = torch.cat([to_prefix, to_self], -1).softmax(-1)
            mixed = weights[..., :-1] @ values + weights[..., -1:] * value
            hidden = _rest(layer, hidden, mixed)
        return self._norm(hidden), own_keys, own_values


def _projections(layer: Any, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values ``(N, heads, T, width)`` of normalized ``(N, T, D)``."""
    attention = layer.self_attn
    shape = (*hidden.shape[:-1], attention.num_heads, attention.head_dim)
    query, key, value = (
        part(hidden).view(shape).transpose(1, 2)
        for part in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    return query, key, value


def _rest(layer: Any, hidden: Tensor, mixed: Tensor) -> Tensor:
    """Apply a layer after its attention: output projection, residual and feed-forward part."""
    hidden = hidden + layer.self_attn.out_proj(mixed.transpose(1, 2).flatten(2))
    output: Tensor = hidden + layer.mlp(layer.layer_norm2(hidden))
    return output
