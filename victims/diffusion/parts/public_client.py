"""Public reconstructions for the attacker: the client half, its simulator, and the prior."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bench.interfaces import Denoiser, Emission, PublicClient, Records, Simulator
from victims.common.checks import with_client_weights
from victims.diffusion.parts.client import ClientHalf, ClientRandomness
from victims.diffusion.parts.public_forward import DiffusionForward
from victims.stable_diffusion.model import StableDiffusion
from victims.stable_diffusion.prompt_code import PromptCode


class PublicDiffusionClient(PublicClient):
    """Rebuilds the client half from public weights and the known defence."""

    def __init__(self, client: ClientHalf) -> None:
        self._client = client

    def with_weights(self, parts: Mapping[str, Tensor]) -> PublicDiffusionClient:
        client = self._client
        stem = with_client_weights(client.stem, parts)
        return PublicDiffusionClient(ClientHalf(client.model, stem, client.defense, client.secret))

    def simulator(self, records: Records) -> Simulator:
        return DiffusionSimulator(self._client, records)

    def forward(self, image_size: int) -> DiffusionForward:
        return DiffusionForward(self._client, copy.deepcopy(self._client.stem), image_size)


class DiffusionSimulator(Simulator):
    """Simulates releases of records that the attacker has.

    Each call uses a fresh copy of the defence, which remembers nothing of earlier calls.
    """

    def __init__(self, client: ClientHalf, records: Records) -> None:
        self._client = client
        self._records = records

    @torch.no_grad()
    def emit(self, index: Sequence[int], rng: torch.Generator) -> Emission:
        single = ClientRandomness.single(rng)
        batch = self._client.encode(self._records, index, single)
        untouched = self._client.defense
        self._client.defense = copy.deepcopy(untouched)
        try:
            return Emission(
                self._client.release(batch, single), batch.image_latents, batch.condition_latents
            )
        finally:
            self._client.defense = untouched


class UNetDenoiser(Denoiser):
    """Predicts the noise of image latents by the frozen public UNet without a ControlNet."""

    def __init__(self, model: StableDiffusion) -> None:
        self._unet = model.unet
        self._factor, self._device = model.factor, model.device
        self._no_prompt = model.no_prompt()

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        states: Tensor | None = None,
        pooled: Tensor | None = None,
    ) -> Tensor:
        code = self._no_prompt.expand(len(noisy))
        if states is not None:
            code = PromptCode(
                states.to(self._device), code.pooled if pooled is None else pooled.to(self._device)
            )
        height, width = (self._factor * side for side in noisy.shape[-2:])
        noisy, timesteps = noisy.to(self._device), timesteps.to(self._device)
        prediction: Tensor = self._unet(noisy, timesteps, **code.arguments(height, width)).sample
        return prediction
