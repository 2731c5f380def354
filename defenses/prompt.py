"""Retain the prompt: send a constant in place of its text-encoder states."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from bench.interfaces import (
    POOLED_PROMPT,
    PROMPT_EMBEDDING,
    Card,
    Channel,
    Defense,
    Params,
    ProtectContext,
    ServerAdapter,
)


class PromptParams(Params):
    """Sets what is sent in place of the prompt.

    Attributes:
        null: ``zero`` sends zeros, as the public code does; ``empty`` sends the states and the
            pooled embedding of the empty prompt; ``learned`` sends zeros, and the server replaces
            the states by states that it trains.
    """

    null: Literal["zero", "empty", "learned"] = "zero"


class LearnedNull(ServerAdapter):
    """Replaces the states of every prompt by trained states.

    They start from the states of the empty prompt and are trained with the ControlNet.
    """

    def __init__(self, empty_prompt: Tensor) -> None:
        super().__init__()
        self.states = nn.Parameter(empty_prompt.detach().clone())

    def forward(self, channel: str, tensor: Tensor) -> Tensor:
        return self.states.expand_as(tensor) if channel == PROMPT_EMBEDDING else tensor


class PromptRetention(Defense):
    """Keeps the prompt on the client in training; in sampling only the frozen UNet gets it."""

    name = "prompt"
    Params = PromptParams
    params: PromptParams
    card = Card(
        summary="Sends a constant in place of the prompt's states and pooled embedding (null=zero, "
        "empty or learned).",
        source="arXiv:2409.08503, prompts kept on the client",
        cost="none; zeros are still sent, as in the public code, so bytes do not shrink",
        notes="The part of the prompt that the picture shows still leaks with the picture.",
    )

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        return None if channel in (PROMPT_EMBEDDING, POOLED_PROMPT) else tensor

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        constants = {PROMPT_EMBEDDING: context.empty_prompt, POOLED_PROMPT: context.empty_pooled}
        if channel not in constants:
            return tensor
        empty = constants[channel]
        if self.params.null == "empty" and empty is not None:
            return empty.to(tensor).expand_as(tensor).contiguous()
        return torch.zeros_like(tensor)

    def server_adapter(self, empty_prompt: Tensor) -> ServerAdapter | None:
        return LearnedNull(empty_prompt) if self.params.null == "learned" else None
