"""The client half as everybody can rebuild it, from public weights and the known defence."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bench.channels import CONTROL_FEATURES, UNET_FEATURES, Channel
from bench.errors import DataError
from bench.images import ImageBatch
from bench.interfaces import Estimate
from bench.public import Emission, PublicClient, Simulator
from bench.public_forward import CONDITION, CONDITION_LATENTS, NOISY, TIMESTEPS, PublicForward
from bench.public_trainer import Unknown
from bench.records import Records
from victims.client import ClientHalf, ClientRandomness


class PublicDiffusionClient(PublicClient):
    """A client of its own with public weights.

    Args:
        image_size: height and width of the pictures.
    """

    def __init__(self, client: ClientHalf, image_size: int) -> None:
        self._client = client
        self._image_size = image_size

    def with_weights(self, parts: Mapping[str, Tensor]) -> PublicDiffusionClient:
        stem = copy.deepcopy(self._client.stem)
        try:
            stem.load_state_dict(dict(parts))
        except RuntimeError as error:
            raise DataError("the client weights on the wire do not fit this client") from error
        return PublicDiffusionClient(ClientHalf(self._client.model, stem, self._client.defense), self._image_size)

    def simulator(self, records: Records) -> Simulator:
        return DiffusionSimulator(self._client, records)

    def forward(self) -> DiffusionForward:
        client = ClientHalf(self._client.model, copy.deepcopy(self._client.stem), self._client.defense)
        return DiffusionForward(client, self._image_size)


class DiffusionSimulator(Simulator):
    """Releases of the attacker's own records."""

    def __init__(self, client: ClientHalf, records: Records) -> None:
        self._client = client
        self._records = records

    @torch.no_grad()
    def emit(self, index: Sequence[int], rng: torch.Generator) -> Emission:
        single = ClientRandomness.single(rng)
        batch = self._client.encode(self._records, index, single)
        return Emission(self._client.release(batch, single), batch.image_latents, batch.condition_latents)


class DiffusionForward(PublicForward):
    """h_sd and h_ctrl of x_t, t, and the condition: as pixels or as z_c, whichever this client's stem takes.

    z0 and eps enter by x_t = a_t z0 + b_t eps alone, which is for the attack to take apart.
    """

    def __init__(self, client: ClientHalf, image_size: int) -> None:
        self.stem = client.stem
        self._client = client
        self._size = image_size

    def inputs(self) -> Mapping[str, Unknown]:
        cells = self._size // self._client.model.factor
        latent = Unknown((4, cells, cells))
        picture = Unknown((3, self._size, self._size), low=0.0, high=1.0)
        return {
            NOISY: latent,
            TIMESTEPS: Unknown((), low=0, high=self._client.model.schedule.steps - 1, integer=True),
            self._client.stem.takes: picture if self._client.stem.takes == CONDITION else latent,
        }

    def send(self, inputs: Mapping[str, Tensor], rng: torch.Generator) -> dict[Channel, Tensor]:
        """``inputs`` need x_t; h_ctrl also the condition. Without t the defence is told 0."""
        client = self._client
        noisy = inputs[NOISY]
        count = len(noisy)
        t = inputs.get(TIMESTEPS, torch.zeros(count, dtype=torch.long, device=noisy.device))
        context = client.context("training", t, [""] * count, rng)
        # A stem uses one of the two and ignores the other.
        condition = inputs.get(client.stem.takes)
        sent = {} if condition is None else {CONTROL_FEATURES: client.stem(noisy, condition, condition)}
        sent[UNET_FEATURES] = client.model.unet.conv_in(noisy)
        return {
            channel: client.defense.surrogate(channel, tensor, context)
            for channel, tensor in sent.items()
            if channel not in client.defense.withheld
        }

    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        model = self._client.model
        if CONDITION in inputs:
            images = ImageBatch.clamped(inputs[CONDITION].cpu())
            return {"condition": Estimate(images, model.encode(images).cpu())}
        if CONDITION_LATENTS in inputs:
            latents = inputs[CONDITION_LATENTS].detach().float()
            return {"condition": Estimate(model.decode(latents), latents.cpu())}
        return {}
