"""A prompt as the text encoders give it to the UNet and the ControlNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.interfaces import POOLED_PROMPT, PROMPT_EMBEDDING, ServerAdapter


@dataclass(frozen=True, eq=False)
class PromptCode:
    """What the two networks take of prompts.

    Attributes:
        states: ``(B, L, D)``.
        pooled: one embedding for each whole prompt, ``(B, P)``, in Stable Diffusion XL; None in
            other models.
    """

    states: Tensor
    pooled: Tensor | None = None

    def expand(self, count: int) -> PromptCode:
        """One prompt for ``count`` records."""
        pooled = None if self.pooled is None else self.pooled.expand(count, -1)
        return PromptCode(self.states.expand(count, -1, -1), pooled)

    def zeros(self) -> PromptCode:
        """Zeros of the same shapes."""
        return PromptCode(
            torch.zeros_like(self.states),
            None if self.pooled is None else torch.zeros_like(self.pooled),
        )

    @classmethod
    def cat(cls, codes: Sequence[PromptCode]) -> PromptCode:
        """One batch after the other."""
        pooled = [code.pooled for code in codes if code.pooled is not None]
        return cls(
            torch.cat([code.states for code in codes]), torch.cat(pooled) if pooled else None
        )

    def adapted(self, adapter: ServerAdapter) -> PromptCode:
        """As the server's networks see it, behind a defence's counterpart."""
        pooled = None if self.pooled is None else adapter(POOLED_PROMPT, self.pooled)
        return PromptCode(adapter(PROMPT_EMBEDDING, self.states), pooled)

    def arguments(self, height: int, width: int) -> dict[str, Any]:
        """Keyword arguments of a diffusers UNet or ControlNet that works on pictures of this size in pixels."""
        if self.pooled is None:
            return {"encoder_hidden_states": self.states}
        ids = time_ids(height, width).to(self.pooled).expand(len(self.pooled), -1)
        added = {"text_embeds": self.pooled, "time_ids": ids}
        return {"encoder_hidden_states": self.states, "added_cond_kwargs": added}


def time_ids(height: int, width: int) -> Tensor:
    """Size conditioning of Stable Diffusion XL (arXiv:2307.01952, section 2.2), ``(1, 6)``.

    Original size, top left corner of the crop, and target size: an uncropped picture of this size.
    They are constants of the resolution, which the shape of every latent shows, so they are public
    and do not cross the wire.
    """
    return torch.tensor([[height, width, 0, 0, height, width]])
