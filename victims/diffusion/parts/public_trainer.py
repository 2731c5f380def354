"""The public reconstruction of a client that trains a whole ControlNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad

from bench.interfaces import (
    NOISE_TARGET,
    POOLED_PROMPT,
    PROMPT_EMBEDDING,
    TIMESTEP,
    Estimate,
    ImageBatch,
    LocalTraining,
    PublicTrainer,
    Unknown,
)
from bench.util.torchvision_guard import guard_torchvision
from victims.diffusion.parts.client import ClientHalf
from victims.diffusion.parts.encoded_records import Batch
from victims.diffusion.parts.undivided_step import Draws, undivided_loss

guard_torchvision()

from diffusers.models.attention_processor import AttnProcessor  # noqa: E402

IMAGE, CONDITION, TEXT, NOISE, TIME = "image_latents", "condition", "text", "noise", "timestep"
POOLED = "pooled_text"


class ControlNetTrainer(PublicTrainer):
    """Computes the denoising loss as a function of weights, records and draws, and its gradient.

    The loss is that of ``victims.diffusion.parts.undivided_step``. Inputs, each ``(B, ...)``:
    ``image_latents`` z0 and ``noise`` eps, ``(4, h, w)``; ``condition`` ``(3, H, W)`` in [0, 1];
    ``text`` states ``(L, D)``; ``timestep`` ``()`` int64; in Stable Diffusion XL ``pooled_text``
    ``(P,)``.

    Args:
        client: a public client that no other object uses; the attention of its networks is set to
            plain matrix products, since the fused kernel has no second derivative.
        controlnet: the architecture of the network; its weights are not used.
        local: how a client trains.
        image_size: height and width of the pictures.
    """

    def __init__(
        self, client: ClientHalf, controlnet: Any, local: LocalTraining, image_size: int
    ) -> None:
        self.local = local
        self._client, self._network, self._size = (
            client,
            controlnet.requires_grad_(False),
            image_size,
        )
        for network in (client.model.unet, controlnet):
            network.set_attn_processor(AttnProcessor())

    def unknowns(self) -> Mapping[str, Unknown]:
        model = self._client.model
        side = self._size // model.factor
        shape = (model.unet.config.in_channels, side, side)
        pooled = self._client.empty_pooled
        return {
            IMAGE: Unknown(shape, latent=True),
            CONDITION: Unknown((3, self._size, self._size), low=0.0, high=1.0),
            TEXT: Unknown(tuple(self._client.empty_prompt.shape[1:]), channel=PROMPT_EMBEDDING),
            NOISE: Unknown(shape, channel=NOISE_TARGET),
            TIME: Unknown(
                (), low=0.0, high=float(model.schedule.steps - 1), integer=True, channel=TIMESTEP
            ),
            **(
                {}
                if pooled is None
                else {POOLED: Unknown(tuple(pooled.shape[1:]), channel=POOLED_PROMPT)}
            ),
        }

    def loss(self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the mean loss of one batch."""

        def network(*args: Any, **options: Any) -> Any:
            return functional_call(self._network, dict(weights), args, options)

        batch = Batch(
            image_latents=inputs[IMAGE],
            condition_latents=inputs[IMAGE],  # unused, since the condition enters as pixels
            condition=inputs[CONDITION],
            text=inputs[TEXT],
            record_ids=(),
            pooled_text=inputs.get(POOLED),
        )
        return undivided_loss(self._client, network, Draws(batch, inputs[TIME], inputs[NOISE]))

    def gradient(
        self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return dict(grad(self.loss)(dict(weights), inputs))

    @torch.no_grad()
    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        codec, estimates = self._client.model, {}
        if IMAGE in inputs:
            estimates["image"] = Estimate(codec.decode(inputs[IMAGE]), inputs[IMAGE].cpu())
        if CONDITION in inputs:
            pictures = ImageBatch.clamped(inputs[CONDITION].cpu())
            estimates["condition"] = Estimate(pictures, codec.encode(pictures).cpu())
        return estimates
