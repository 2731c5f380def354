"""Prompts from the gradient of a ControlNet's cross-attention."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from attacks.prompts.parts.text_span import TextSpan, read_prompts, text_span
from bench.interfaces import (
    CLIENT_UPDATE,
    Attack,
    Budget,
    Card,
    Certificate,
    Claim,
    NotApplicableError,
    Params,
    Progress,
    Texts,
    View,
)


class PromptSpanParams(Params):
    """Parameters of ``prompt-span``.

    Attributes:
        spare: sequences that are followed beyond one for each record of the update.
        finest: singular values below this share of the largest are rounding in single precision.
        coarsest: the largest share that is tried where the span would fill the space; beyond it the
            attack does not apply.
    """

    spare: int = Field(default=2, ge=0)
    finest: float = Field(default=1e-7, gt=0, lt=1)
    coarsest: float = Field(default=1e-5, gt=0, lt=1)


class PromptSpan(Attack):
    """DAGER (arXiv:2405.15586) on cross-attention: the update's row space reveals its text states.

    DAGER checks token embeddings against the gradient of the first self-attention. A ControlNet's
    keys and values are linear in the frozen text encoder's *last* states, which are public
    functions of the prompt up to each position. So the prompt is decoded greedily by trying every
    next token. Everything else that the loss depends on (picture, condition, t, eps) may stay
    unknown. An update must contain fewer states than they have dimensions. Start states are common
    to all records; padding states are not.
    """

    name = "prompt-span"
    Params = PromptSpanParams
    requires = frozenset({CLIENT_UPDATE})
    default_budget = Budget(iterations=0, batch_size=1)
    certificates = (
        Certificate(
            "federated-sgd",
            "fedavg",
            "prompt",
            "token_accuracy",
            0.9,
            given=(("records_per_update", 1),),
        ),
    )
    card = Card(
        summary=(
            "Reads prompts off the row space of the cross-attention's gradient, token by token; no "
            "optimisation."
        ),
        source=(
            "Petrov et al. (DAGER), arXiv:2405.15586; adapted to cross-attention over text states "
            "(this project)"
        ),
        needs=(
            "client_update of SGD steps; the public text encoder; fewer states per update than "
            "their dimensions"
        ),
        cost=(
            "(records + spare) x tokens x vocabulary single-token steps of the text encoder per "
            "update"
        ),
        notes=(
            "There is nothing to read in the first round, while zero convolutions are zero. "
            "AdamW's first step keeps little more than signs, whose row space is full."
        ),
    )

    @torch.no_grad()
    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        text, trainer = view.public.text, view.public.trainer
        if text is None:
            raise NotApplicableError("the public text encoder is not known under this threat model")
        if trainer is None:
            raise NotApplicableError("the clients' local training is not public here")
        if trainer.local.optimizer != "sgd":
            raise NotApplicableError(
                f"an update by {trainer.local.optimizer} is not a sum of gradients"
            )
        width = text.states(torch.tensor([[text.start]])).shape[-1]
        groups: dict[int, list[int]] = {}
        for place, position in enumerate(view.targets):
            groups.setdefault(view.releases[position].step, []).append(place)
        updates = {message.step: message.tensors for message in view.parts(CLIENT_UPDATE)}
        spans = self._spans({step: updates[step] for step in groups}, width)
        tokens: list[tuple[int, ...]] = [()] * len(view.targets)
        residuals: list[float] = []
        with progress.stage("decoding prompts", len(spans)) as advance:
            for step, span in spans.items():
                places = groups[step]
                prompts = read_prompts(text, span, len(places), len(places) + self.params.spare)
                prompts += prompts[:1] * (len(places) - len(prompts))
                for place, prompt in zip(places, prompts, strict=True):
                    tokens[place] = prompt.tokens
                    residuals.append(prompt.residual)
                advance(1)
        return Claim(
            {"prompt": Texts(tuple(text.decode(row) for row in tokens), tuple(tokens))},
            diagnostics={
                "span_rank": sum(float(s.rank) for s in spans.values()) / len(spans),
                "span_dimensions": float(width),
                "span_residual": sum(residuals) / len(residuals),
                "span_residual_worst": max(residuals),
                "span_unreadable": float(len(groups) - len(spans)),
            },
        )

    def _spans(
        self, updates: Mapping[int, Mapping[str, Tensor]], width: int
    ) -> dict[int, TextSpan]:
        """Return the span of each step's update; updates without a span are left out.

        Their prompts are claimed to be empty.

        Raises:
            NotApplicableError: no update has a span; the reason is that of the first.
        """
        spans: dict[int, TextSpan] = {}
        reasons: list[NotApplicableError] = []
        for step, update in updates.items():
            try:
                spans[step] = text_span(
                    update, width, finest=self.params.finest, coarsest=self.params.coarsest
                )
            except NotApplicableError as error:
                reasons.append(error)
        if not spans:
            raise reasons[0]
        return spans
