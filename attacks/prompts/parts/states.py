"""The prompts' states in a view."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.interfaces import PROMPT_EMBEDDING, NotApplicableError, PublicText, View

SAME = 1e-4
"""Relative distance up to which two states are equal.

It is far above rounding in float32 and far below the distance of two tokens (on the pocket model:
3e-7 for the true token, 7e-3 and more for any other).
"""


def private_states(view: View) -> tuple[PublicText, Tensor]:
    """Return the public encoder, and the targets' states ``(N, L, D)`` float32 on its device.

    Raises:
        NotApplicableError: the states are not in view, the encoder is not known, or a constant was
            sent instead.
    """
    if not view.has(PROMPT_EMBEDDING):
        raise NotApplicableError("prompt_embedding is not in view")
    text = view.public.text
    if text is None:
        raise NotApplicableError("the public text encoder is not known under this threat model")
    states = view.read(PROMPT_EMBEDDING).float().to(view.public.device)
    empty = text.states(text.encode([""]))
    if states.shape[1:] != empty.shape[1:]:
        raise NotApplicableError(
            f"states of shape {tuple(states.shape[1:])} are not of this text encoder"
        )
    if not bool(states.any()):
        raise NotApplicableError(
            "the prompt is retained: prompt_embedding is zero for every record"
        )
    if bool((relative_distance(states, empty) < SAME).all()):
        raise NotApplicableError(
            "the prompt is retained: prompt_embedding is that of the empty prompt for every record"
        )
    return text, states


def relative_distance(guess: Tensor, states: Tensor) -> Tensor:
    """Return the distance over the length of ``states``, along the last dimension."""
    difference: Tensor = (guess - states).norm(dim=-1)
    ratio: Tensor = difference / states.norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
    return ratio
