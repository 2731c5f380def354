"""A cheap baseline on prompts: the token that each state resembles most, without context."""

from __future__ import annotations

import torch
from pydantic import Field

from attacks.prompts.parts.states import private_states
from attacks.prompts.parts.token_means import TokenMeans, altered_prompts, random_sequences
from bench.interfaces import (
    PROMPT_EMBEDDING,
    Attack,
    Budget,
    Card,
    Claim,
    Params,
    Progress,
    Texts,
    View,
)


class PromptNearestParams(Params):
    """Parameters of ``prompt-nearest``.

    Attributes:
        sequences: token sequences to learn from; half are random, half are auxiliary prompts with
            random tokens in them.
        ridge: share of the mean variance that is added to the covariance.
    """

    sequences: int = Field(default=1024, ge=2)
    ridge: float = Field(default=1e-4, gt=0)


class PromptNearest(Attack):
    """Reads every position separately, by linear discriminants that are common to all positions.

    It does not use that the encoder is causal. The difference to ``prompt-decode`` is the effect of
    the context on a state.
    """

    name = "prompt-nearest"
    Params = PromptNearestParams
    requires = frozenset({PROMPT_EMBEDDING})
    default_budget = Budget(iterations=0, batch_size=64)
    card = Card(
        summary=(
            "Nearest token at each position by linear discriminants on the text encoder's states."
        ),
        source="this project; discriminants of Fisher, Annals of Eugenics 1936",
        needs="prompt_embedding; the public text encoder; auxiliary prompts help",
        cost="one pass of the text encoder over the sequences it learns from",
        notes=(
            "This is a baseline: where its score approaches that of prompt-decode, prompt-decode "
            "is broken."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        text, states = private_states(view)
        known = view.public.auxiliary.prompts
        half = self.params.sequences // 2
        with progress.stage("learning tokens", 2) as advance:
            ids = random_sequences(text, self.params.sequences - half, rng)
            others = (
                altered_prompts(text, known, half, rng)
                if known
                else random_sequences(text, half, rng)
            )
            means = TokenMeans.fit(text, torch.cat([ids, others]), self.params.ridge)
            advance(1)
            tokens = tuple(text.content(row) for row in means.read(states).tolist())
            advance(1)
        return Claim({"prompt": Texts(tuple(text.decode(row) for row in tokens), tokens)})
