"""The client of a split classifier, and its public reconstruction."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.interfaces import (
    CONTROL_FEATURES,
    Channel,
    Defense,
    Emission,
    Estimate,
    ImageBatch,
    NoiseSchedule,
    ProtectContext,
    PublicClient,
    PublicForward,
    Records,
    Simulator,
    Unknown,
)
from bench.interfaces.public_forward import PIXELS
from victims.classifier.parts.labelled_records import PooledCodec, enlarge, pool
from victims.common.checks import with_client_weights


class CnnClient(nn.Module):
    """Applies the client's layers, and the defence to their features.

    Args:
        stem: maps pixels ``(B, 3, size, size)`` in [0, 1] to features ``(B, C, h, w)``.
        defense: protects the features.
        device: device of the stem.
    """

    def __init__(self, stem: nn.Module, defense: Defense, device: str) -> None:
        super().__init__()
        self.stem = stem.to(device)
        self.defense = defense
        self.device = device

    def release(
        self, pixels: Tensor, ids: Sequence[str], phase: str, rng: torch.Generator
    ) -> Tensor:
        """Return protected features ``(B, C, h, w)``, still attached to the stem's graph."""
        context = classifier_context(phase, ids, rng)
        return self.defense.protect(CONTROL_FEATURES, self.stem(pixels.to(self.device)), context)


def classifier_context(phase: str, ids: Sequence[str], rng: torch.Generator) -> ProtectContext:
    """Return a defence's context without diffusion: every t is 0 and there is no prompt."""
    times = torch.zeros(len(ids), dtype=torch.long)
    return ProtectContext(
        phase, times, NoiseSchedule.stable_diffusion(), torch.zeros(1, 1, 1), ids, rng
    )


class PublicCnnClient(PublicClient):
    """Rebuilds the client with public weights, for pictures pooled to ``size``."""

    def __init__(self, client: CnnClient, size: int) -> None:
        self._client, self._size = client, size

    def _with(self, stem: nn.Module) -> CnnClient:
        return CnnClient(stem, self._client.defense, self._client.device)

    def with_weights(self, parts: Mapping[str, Tensor]) -> PublicCnnClient:
        stem = with_client_weights(self._client.stem, parts)
        return PublicCnnClient(self._with(stem), self._size)

    def simulator(self, records: Records) -> Simulator:
        return CnnSimulator(self._client, records, self._size)

    def forward(self, image_size: int) -> CnnForward:
        return CnnForward(self._with(copy.deepcopy(self._client.stem)), self._size, image_size)


class CnnSimulator(Simulator):
    """Simulates releases of records that the attacker has."""

    def __init__(self, client: CnnClient, records: Records, size: int) -> None:
        self._client = client
        self._pixels = pool(records.images, size)
        image_size = records.images.shape[-1]
        codec = PooledCodec(size, image_size)
        self._latents = codec.encode(ImageBatch(enlarge(self._pixels, image_size)))
        self._condition_latents = codec.encode(records.condition_batch())

    @torch.no_grad()
    def emit(self, index: Sequence[int], rng: torch.Generator) -> Emission:
        rows, device = list(index), self._client.device
        # A copy of the defence, so that it remembers nothing of earlier simulations.
        client = CnnClient(self._client.stem, copy.deepcopy(self._client.defense), device)
        sent = client.release(self._pixels[rows], [""] * len(rows), "training", rng)
        latents, condition_latents = self._latents[rows], self._condition_latents[rows]
        return Emission({CONTROL_FEATURES: sent}, latents.to(device), condition_latents.to(device))


class CnnForward(PublicForward):
    """Computes the features of guessed pixels ``(B, 3, size, size)``."""

    def __init__(self, client: CnnClient, size: int, image_size: int) -> None:
        self.stem = client.stem
        self._client, self._size, self._image_size = client, size, image_size

    def inputs(self) -> Mapping[str, Unknown]:
        return {PIXELS: Unknown((3, self._size, self._size), low=0.0, high=1.0)}

    def send(self, inputs: Mapping[str, Tensor], rng: torch.Generator) -> dict[Channel, Tensor]:
        if PIXELS not in inputs:
            return {}
        pixels = inputs[PIXELS]
        context = classifier_context("training", [""] * len(pixels), rng)
        features = self.stem(pixels.to(self._client.device))
        return {
            CONTROL_FEATURES: self._client.defense.surrogate(CONTROL_FEATURES, features, context)
        }

    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        if PIXELS not in inputs:
            return {}
        small = inputs[PIXELS].detach().float().cpu().clamp(0, 1)
        images = ImageBatch.clamped(enlarge(small, self._image_size))
        return {"image": Estimate(images, PooledCodec(self._size, self._image_size).encode(images))}
