"""Private records as latents and prompt states, computed once: the encoders are frozen, epochs differ in draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.interfaces import ImageBatch, Records
from victims.stable_diffusion.model import StableDiffusion
from victims.stable_diffusion.prompt_code import PromptCode


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch within the client, never sent as such.

    Attributes:
        image_latents: z0, ``(B, 4, h, w)``; condition_latents: z_c, likewise.
        condition: pixels in [0, 1], ``(B, 3, H, W)``.
        text: prompt states, ``(B, L, D)``.
        pooled_text: pooled prompts of Stable Diffusion XL, ``(B, P)``; None in other models.
        record_ids: the client's names of the records.
    """

    image_latents: Tensor
    condition_latents: Tensor
    condition: Tensor
    text: Tensor
    record_ids: tuple[str, ...]
    pooled_text: Tensor | None = None

    def only(self, i: int) -> Batch:
        """The ``i``-th record, as a batch of one."""
        row = slice(i, i + 1)
        return Batch(
            self.image_latents[row],
            self.condition_latents[row],
            self.condition[row],
            self.text[row],
            self.record_ids[row],
            None if self.pooled_text is None else self.pooled_text[row],
        )

    def prompt_arguments(self) -> dict[str, Any]:
        """What UNet and ControlNet take of the prompts, as ``PromptCode.arguments``."""
        height, width = self.condition.shape[-2:]
        return PromptCode(self.text, self.pooled_text).arguments(height, width)


class EncodedRecords:
    """Gives batches of ``records``; encodes a record when it is first asked for, and keeps it on
    the CPU.

    A record takes four latents and its prompt's states: half a megabyte at 512x512 in Stable
    Diffusion 1.5.
    """

    def __init__(self, model: StableDiffusion, records: Records) -> None:
        self.records = records
        self._model = model
        self._kept = (
            "meta" if model.device == "meta" else "cpu"
        )  # shapes without data cannot be moved
        self._known: dict[int, tuple[Tensor | None, ...]] = {}

    def batch(self, index: Sequence[int], rng: torch.Generator) -> Batch:
        """The records at ``index``; z0 and z_c are drawn from the autoencoder's posterior, as published."""
        rows = list(index)
        self._encode(sorted({row for row in rows if row not in self._known}))
        *moments, text, pooled = (
            None if part[0] is None else torch.stack(part).to(self._model.device)
            for part in zip(*(self._known[row] for row in rows), strict=True)
        )
        image_latents, condition_latents = (
            mean + std * torch.randn(mean.shape, generator=rng).to(mean.device)
            for mean, std in (moments[:2], moments[2:])
        )
        return Batch(
            image_latents=image_latents,
            condition_latents=condition_latents,
            condition=ImageBatch.from_uint8(self.records.conditions[rows]).pixels.to(
                self._model.device
            ),
            text=text,
            record_ids=tuple(self.records.ids[i] for i in rows),
            pooled_text=pooled,
        )

    def _encode(self, rows: list[int]) -> None:
        if not rows:
            return
        images, conditions = (
            self._model.moments(ImageBatch.from_uint8(pixels[rows]))
            for pixels in (self.records.images, self.records.conditions)
        )
        code = self._model.prompt_code([self.records.prompts[i] for i in rows])
        pooled = [None] * len(rows) if code.pooled is None else code.pooled
        for row, *parts in zip(rows, *images, *conditions, code.states, pooled, strict=True):
            self._known[row] = tuple(
                None if part is None else part.to(self._kept) for part in parts
            )
