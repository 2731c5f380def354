"""Prompts by optimisation on the states that were sent: PEZ (arXiv:2302.03668, algorithm 1)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from attacks.prompts.parts.states import private_states
from bench.interfaces import (
    PROMPT_EMBEDDING,
    Advance,
    Attack,
    Budget,
    BudgetAxis,
    Card,
    Claim,
    Params,
    Progress,
    PublicText,
    Texts,
    View,
)


class PromptOptimiseParams(Params):
    """Parameters of ``prompt-optimise``.

    Attributes:
        learning_rate: of AdamW, as published.
        weight_decay: of AdamW, as published.
    """

    learning_rate: float = Field(default=0.1, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)


class PromptOptimise(Attack):
    """Optimises embeddings with gradients that are taken at their projection on the nearest tokens.

    The loss is 1 - cosine between the projection's states and those that were sent, averaged over
    positions. The projection with the lowest loss on the way is claimed.
    """

    name = "prompt-optimise"
    Params = PromptOptimiseParams
    requires = frozenset({PROMPT_EMBEDDING})
    default_budget = Budget(iterations=150, batch_size=64)
    budget_axis = BudgetAxis("iterations", (25, 50, 100, 150))
    card = Card(
        summary=(
            "Gradient search over projected token embeddings until their states match those that "
            "were sent."
        ),
        source="arXiv:2302.03668, Algorithm 1 (PEZ)",
        needs="prompt_embedding; the public text encoder",
        cost="one forward and backward pass of the text encoder over the records per iteration",
        notes=(
            "Finds almost no tokens of long prompts on the pocket model. This negative result is "
            "due to the search and is no evidence for a defence."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        text, states = private_states(view)
        iterations = max(1, budget.iterations)
        parts = torch.split(states, budget.batch_size)
        rows: list[list[int]] = []
        first, last = 0.0, 0.0
        with progress.stage("optimising prompts", iterations * len(parts)) as advance:
            for part in parts:
                ids, losses = self._optimise(text, part, iterations, rng, advance)
                rows += ids.tolist()
                first += losses[0] * len(part) / len(states)
                last += losses[1] * len(part) / len(states)
        tokens = tuple(text.content([text.start, *row]) for row in rows)
        return Claim(
            {"prompt": Texts(tuple(text.decode(row) for row in tokens), tokens)},
            diagnostics={"attack_loss_first": first, "attack_loss_last": last},
        )

    def _optimise(
        self,
        text: PublicText,
        states: Tensor,
        iterations: int,
        rng: torch.Generator,
        advance: Advance,
    ) -> tuple[Tensor, tuple[float, float]]:
        """Return the best ids ``(N, L - 1)`` after the start token, and two mean losses.

        The losses are those of the first and of the best projection.
        """
        table = text.embeddings().float()
        directions = torch.nn.functional.normalize(table, dim=1)
        start = table[text.start].expand(len(states), 1, -1)
        drawn = torch.randint(0, text.vocabulary, (len(states), text.length - 1), generator=rng)
        soft = table[drawn.to(table.device)].clone().requires_grad_(True)
        optimizer = torch.optim.AdamW(
            [soft], lr=self.params.learning_rate, weight_decay=self.params.weight_decay, fused=True
        )
        best = torch.full((len(states),), torch.inf, device=table.device)
        ids = drawn.to(table.device)
        first = float("inf")
        for _ in range(iterations):
            # The nearest token by cosine, as in the published code.
            tokens = (soft.detach() @ directions.T).argmax(-1)
            hard = table[tokens].requires_grad_(True)
            guess = text.states_of_embeddings(torch.cat([start, hard], 1))
            loss = (1 - torch.nn.functional.cosine_similarity(guess, states, dim=-1)).mean(1)
            if first == float("inf"):
                first = float(loss.detach().mean())
            better = loss.detach() < best
            best = torch.where(better, loss.detach(), best)
            ids = torch.where(better.unsqueeze(1), tokens, ids)
            (soft.grad,) = torch.autograd.grad(loss.sum(), hard)
            optimizer.step()
            advance(1)
        return ids.cpu(), (first, float(best.mean()))
