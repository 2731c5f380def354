"""Nearest token by the mean state of each token, learned on the attacker's token sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.interfaces import PublicText

BATCH = 256
"""Sequences per call of the encoder."""
REPLACED = 0.3
"""Share of an auxiliary prompt's tokens that are replaced, so that every token occurs."""


@dataclass(frozen=True, eq=False)
class TokenMeans:
    """Distance to each token's mean state under the covariance within tokens (Fisher 1936).

    Attributes:
        centre: mean state of each position but the first, ``(L - 1, D)``.
        weights: ``(D, V)``.
        bias: ``(V,)``, -inf for tokens that were never seen.
    """

    centre: Tensor
    weights: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, text: PublicText, ids: Tensor, ridge: float) -> TokenMeans:
        """Learn the discriminants from sequences ``(S, L)``.

        Args:
            text: the public encoder.
            ids: the sequences.
            ridge: share of the mean variance that is added to the variance of every direction.
        """
        states = torch.cat([text.states(part) for part in torch.split(ids, BATCH)])[:, 1:].float()
        centre = states.mean(0)
        inputs, tokens = (states - centre).flatten(0, 1), ids[:, 1:].flatten().to(states.device)
        count = torch.bincount(tokens, minlength=text.vocabulary)
        means = torch.zeros(text.vocabulary, inputs.shape[1], device=inputs.device).index_add_(
            0, tokens, inputs
        )
        means = means / count.clamp_min(1).unsqueeze(1)
        within = (inputs - means[tokens]).double()
        covariance = within.T @ within / len(within)
        covariance += (
            ridge
            * covariance.diagonal().mean()
            * torch.eye(len(covariance), device=covariance.device)
        )
        weights = torch.linalg.solve(covariance, means.double().T).float()
        bias = -0.5 * (means * weights.T).sum(1)
        return cls(centre, weights, torch.where(count > 0, bias, -torch.inf))

    def read(self, states: Tensor) -> Tensor:
        """Return the likeliest token at every position but the first, ``(N, L - 1)``."""
        return torch.stack(
            [
                ((states[:, i + 1] - centre) @ self.weights + self.bias).argmax(1)
                for i, centre in enumerate(self.centre)
            ],
            1,
        )


def random_sequences(text: PublicText, count: int, rng: torch.Generator) -> Tensor:
    """Return ``(count, L)`` ids of uniform tokens between start and end, with uniform lengths."""
    ids = _words(text, (count, text.length), rng)
    last = torch.randint(1, text.length, (count, 1), generator=rng)
    place = torch.arange(text.length)
    ids = torch.where(place > last, text.padding, torch.where(place == last, text.end, ids))
    ids[:, 0] = text.start
    return ids


def altered_prompts(
    text: PublicText, prompts: Sequence[str], count: int, rng: torch.Generator
) -> Tensor:
    """Return ``(count, L)`` ids of prompts, with a share of their tokens replaced at random.

    Prompts are drawn with replacement.
    """
    known = text.encode(prompts)
    ids = known[torch.randint(0, len(known), (count,), generator=rng)]
    inside = (ids == text.end).cumsum(1) == 0
    inside[:, 0] = False
    replaced = inside & (torch.rand(ids.shape, generator=rng) < REPLACED)
    return torch.where(replaced, _words(text, tuple(ids.shape), rng), ids)


def _words(text: PublicText, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Return ids drawn uniformly from all but the special tokens."""
    special = {text.start, text.end, text.padding}
    ordinary = torch.tensor([i for i in range(text.vocabulary) if i not in special])
    return ordinary[torch.randint(0, len(ordinary), shape, generator=rng)]
