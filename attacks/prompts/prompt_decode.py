"""Exact decoding of a prompt from the states of a causal text encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from attacks.prompts.parts.states import SAME, private_states, relative_distance
from attacks.prompts.parts.token_order import TokenOrder
from bench.interfaces import (
    PROMPT_EMBEDDING,
    Advance,
    Attack,
    Budget,
    Card,
    Certificate,
    Claim,
    Params,
    Prefix,
    Progress,
    PublicText,
    Texts,
    View,
)


class PromptDecodeParams(Params):
    """Parameters of ``prompt-decode``.

    Attributes:
        beam: hypotheses per record where no token explains a state up to rounding, as under noise.
        shortlist: tokens that are tried before the whole vocabulary; 0 tries the whole vocabulary
            at once.
    """

    beam: int = Field(default=1, ge=1)
    shortlist: int = Field(default=32, ge=0)


class PromptDecode(Attack):
    """Decodes token by token: takes the token whose state lies nearest to the one that was sent.

    The encoder is causal and public, so the state at a position is a function of the tokens up to
    it, and the next token is found by trying all of them. A token of the shortlist is taken without
    trying the others only where its state agrees up to rounding; no other token can be nearer by
    more than that. With ``beam`` above 1, records that no such chain of tokens explains are
    searched again, by squared error over all positions.
    """

    name = "prompt-decode"
    Params = PromptDecodeParams
    requires = frozenset({PROMPT_EMBEDDING})
    default_budget = Budget(iterations=0, batch_size=64)
    certificates = (Certificate("split-controlnet", "gradient", "prompt", "token_accuracy", 0.99),)
    card = Card(
        summary=(
            "Reads the prompt off its text-encoder states exactly, trying the next token at every "
            "position."
        ),
        source="this project; causal inversion as in arXiv:2510.15511",
        needs="prompt_embedding; the public text encoder",
        cost=(
            "at worst records x tokens x vocabulary single-token steps; with a shortlist that "
            "contains the words, a hundredth of that"
        ),
        notes=(
            "Under noise on the states it finds the nearest token; beam searches further. Not "
            "applicable to retained prompts."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        text, states = private_states(view)
        likely = TokenOrder(text, view.public.auxiliary.prompts) if self.params.shortlist else None
        rows: list[list[int]] = []
        with progress.stage("decoding prompts", len(states)) as advance:
            for part in torch.split(states, budget.batch_size):
                rows += self._decode(text, part, likely, advance)
        decoded = torch.cat(
            [text.states(part) for part in torch.split(text.filled(rows), budget.batch_size)]
        )
        residual = relative_distance(decoded, states).mean(1)
        tokens = tuple(tuple(row) for row in rows)
        return Claim(
            {"prompt": Texts(tuple(text.decode(row) for row in tokens), tokens)},
            diagnostics={
                "decode_residual": float(residual.mean()),
                "decode_explained": float((residual < SAME).double().mean()),
            },
        )

    def _decode(
        self, text: PublicText, states: Tensor, likely: TokenOrder | None, advance: Advance
    ) -> list[list[int]]:
        rows, exact = greedy(text, states, likely, self.params.shortlist)
        unexplained = [i for i, sure in enumerate(exact) if not sure]
        if self.params.beam > 1:
            for i in unexplained:
                rows[i] = beam_search(text, states[i], self.params.beam)
        advance(len(states))
        return rows


def greedy(
    text: PublicText, states: Tensor, likely: TokenOrder | None, shortlist: int
) -> tuple[list[list[int]], list[bool]]:
    """Return the contents of the prompts, and whether every token of each agrees up to rounding.

    Args:
        text: the public encoder.
        states: ``(N, L, D)``.
        likely: order of trials, or None.
        shortlist: tokens that are tried first.
    """
    rows: list[list[int]] = [[] for _ in states]
    exact = [True] * len(states)
    active = torch.arange(len(states))
    prefix = text.begin(len(states))
    previous = [text.start] * len(states)
    for position in range(1, text.length):
        wanted = states[active.to(states.device), position]
        tried = None if likely is None else likely.after(previous, shortlist)
        tokens, distances = _nearest(text, prefix, wanted, tried)
        for i, token, distance in zip(
            active.tolist(), tokens.tolist(), distances.tolist(), strict=True
        ):
            exact[i] = exact[i] and distance < SAME
            if token != text.end:
                rows[i].append(token)
        unfinished = tokens != text.end
        if not bool(unfinished.any()) or position == text.length - 1:
            break
        kept = unfinished.nonzero().flatten()
        active, tokens = active[kept], tokens[kept]
        prefix = text.extend(prefix.take(kept.to(states.device)), tokens)
        previous = tokens.tolist()
    return rows, exact


def _nearest(
    text: PublicText, prefix: Prefix, wanted: Tensor, tried: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the token whose state is nearest, for each row, and its relative distance, on the CPU.

    Args:
        text: the public encoder.
        prefix: what is already decoded.
        wanted: states, ``(N, D)``.
        tried: ``(N, C)``, taken where they agree up to rounding; the whole vocabulary is tried for
            all other rows.
    """
    tokens = torch.zeros(len(wanted), dtype=torch.long)
    distances = torch.full((len(wanted),), torch.inf)
    if tried is not None and tried.shape[1]:
        least, best = relative_distance(text.candidates(prefix, tried), wanted.unsqueeze(1)).min(1)
        distances, tokens = least.cpu(), tried.gather(1, best.cpu().unsqueeze(1)).squeeze(1)
    unexplained = (distances >= SAME).nonzero().flatten()
    if len(unexplained):
        place = unexplained.to(wanted.device)
        everything = torch.arange(text.vocabulary).unsqueeze(0)
        least, best = _all_distances(text, prefix.take(place), wanted[place], everything).min(1)
        distances[unexplained], tokens[unexplained] = least.cpu(), best.cpu()
    return tokens, distances


def _all_distances(text: PublicText, prefix: Prefix, wanted: Tensor, tokens: Tensor) -> Tensor:
    """Return relative distances ``(N, C)``, computed a part of the vocabulary at a time.

    The states of the whole vocabulary may not fit into memory.
    """
    parts = torch.split(tokens, 4096, dim=1)
    return torch.cat(
        [relative_distance(text.candidates(prefix, p), wanted.unsqueeze(1)) for p in parts], 1
    )


@dataclass(frozen=True)
class _Hypothesis:
    """Tokens that were read, including special ones, and their summed squared relative error."""

    tokens: tuple[int, ...]
    error: float


def beam_search(text: PublicText, states: Tensor, beam: int) -> list[int]:
    """Return the content of one prompt with states ``(L, D)``.

    A hypothesis that has ended is continued with padding, so that all are compared by errors at the
    same positions.
    """
    hypotheses = [_Hypothesis((text.start,), 0.0)]
    prefix = text.begin(1)
    everything = torch.arange(text.vocabulary).unsqueeze(0)
    for position in range(1, text.length):
        wanted = states[position].expand(len(hypotheses), -1)
        errors = _all_distances(text, prefix, wanted, everything).double().square().cpu()
        for k, hypothesis in enumerate(hypotheses):
            if text.end in hypothesis.tokens[1:]:
                padded = errors[k, text.padding].clone()
                errors[k] = torch.inf
                errors[k, text.padding] = padded
            elif position == text.length - 1:
                ended = errors[k, text.end].clone()
                errors[k] = torch.inf
                errors[k, text.end] = ended
        errors += torch.tensor([[h.error] for h in hypotheses], dtype=torch.float64)
        best = errors.flatten().topk(min(beam, int(errors.isfinite().sum())), largest=False)
        origin = best.indices // text.vocabulary
        chosen = best.indices % text.vocabulary
        hypotheses = [
            _Hypothesis((*hypotheses[k].tokens, token), error)
            for k, token, error in zip(
                origin.tolist(), chosen.tolist(), best.values.tolist(), strict=True
            )
        ]
        prefix = text.extend(prefix.take(origin.to(states.device)), chosen)
    return list(text.content(hypotheses[0].tokens))
