"""The output of the text encoders, as the UNet and the ControlNet take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.interfaces import POOLED_PROMPT, PROMPT_EMBEDDING, ServerAdapter


@dataclass(frozen=True, eq=False)
class PromptCode:
    """Holds the text encoders' output for a batch of prompts.

    Attributes:
        states: one state for each token, ``(B, L, D)``.
        pooled: one embedding for each whole prompt, ``(B, P)``, in Stable Diffusion XL; None in
            other models.
    """

    states: Tensor
    pooled: Tensor | None = None

    def expand(self, count: int) -> PromptCode:
        """Return one prompt repeated for ``count`` records."""
        pooled = None if self.pooled is None else self.pooled.expand(count, -1)
        return PromptCode(self.states.expand(count, -1, -1), pooled)

    def only(self, i: int) -> PromptCode:
        """Return prompt ``i`` as a batch of one."""
        row = slice(i, i + 1)
        return PromptCode(self.states[row], None if self.pooled is None else self.pooled[row])

    def to(self, device: str) -> PromptCode:
        """Return the prompts on ``device``."""
        pooled = None if self.pooled is None else self.pooled.to(device)
        return PromptCode(self.states.to(device), pooled)

    def zeros(self) -> PromptCode:
        """Return zeros in the shapes of this batch."""
        return PromptCode(
            torch.zeros_like(self.states),
            None if self.pooled is None else torch.zeros_like(self.pooled),
        )

    @classmethod
    def cat(cls, codes: Sequence[PromptCode]) -> PromptCode:
        """Return the batches concatenated in order."""
        pooled = [code.pooled for code in codes if code.pooled is not None]
        return cls(
            torch.cat([code.states for code in codes]), torch.cat(pooled) if pooled else None
        )

    def adapted(self, adapter: ServerAdapter) -> PromptCode:
        """Return the prompts after a defence's counterpart on the server."""
        pooled = None if self.pooled is None else adapter(POOLED_PROMPT, self.pooled)
        return PromptCode(adapter(PROMPT_EMBEDDING, self.states), pooled)

    def arguments(self, height: int, width: int) -> dict[str, Any]:
        """Return the keyword arguments of a diffusers UNet or ControlNet.

        Args:
            height: height of the pictures in pixels.
            width: width of the pictures in pixels.
        """
        if self.pooled is None:
            return {"encoder_hidden_states": self.states}
        ids = time_ids(height, width).to(self.pooled).expand(len(self.pooled), -1)
        added = {"text_embeds": self.pooled, "time_ids": ids}
        return {"encoder_hidden_states": self.states, "added_cond_kwargs": added}


def time_ids(height: int, width: int) -> Tensor:
    """Return the size conditioning of Stable Diffusion XL, ``(1, 6)``.

    It consists of original size, top left corner of the crop, and target size
    (arXiv:2307.01952, section 2.2); here it describes an uncropped picture. The shape of every
    latent shows the resolution, so the size conditioning is public and does not cross the wire.
    """
    return torch.tensor([[height, width, 0, 0, height, width]])
