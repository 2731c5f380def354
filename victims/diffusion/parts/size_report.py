"""What a model of any size costs: parameters on either side of the cut, and bytes on the wire.

Everything is counted on the victim's own halves, built on the device ``meta``, where tensors have
shapes and no data; Stable Diffusion 1.5 takes seconds and no memory worth mentioning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.interfaces import (
    CONTROL_FEATURES,
    GRADIENT_DOWN,
    LOSS_GRADIENT,
    NOISE_TARGET,
    PREDICTION_DOWN,
    Channel,
    Records,
)
from victims.diffusion.parts.client import ClientHalf, ClientRandomness
from victims.diffusion.parts.server import ServerHalf
from victims.stable_diffusion.model import StableDiffusion


def parameters(*modules: nn.Module | None, trained: bool | None = None) -> int:
    """How many parameters the modules have; only those that train, or do not, if asked."""
    return sum(
        p.numel()
        for m in modules
        if m is not None
        for p in m.parameters()
        if trained in (None, p.requires_grad)
    )


def model_parts(model: StableDiffusion, controlnet: Any) -> dict[str, int]:
    """Parameters of each network."""
    return {
        "UNet": parameters(model.unet),
        "ControlNet": parameters(controlnet),
        "autoencoder": parameters(model.vae),
        "text encoder": parameters(model.text_encoder),
        **(
            {"second text encoder": parameters(model.text_encoder_2)}
            if model.text_encoder_2 is not None
            else {}
        ),
    }


@dataclass(frozen=True)
class Division:
    """Who holds how many parameters.

    Attributes:
        client_frozen: the encoding half of the autoencoder, the text encoders, the UNet's
            ``conv_in``.
        client_trained: the stem, where the protocol trains it.
        server_frozen: the UNet behind its ``conv_in``.
        server_trained: the ControlNet behind the cut, and a defence's counterpart.
    """

    client_frozen: int
    client_trained: int
    server_frozen: int
    server_trained: int

    @classmethod
    def of(cls, client: ClientHalf, server: ServerHalf) -> Division:
        """Count two halves."""
        model = client.model
        texts = (model.text_encoder, model.text_encoder_2)
        encoding = (model.vae.encoder, model.vae.quant_conv, *texts, model.unet.conv_in)
        return cls(
            client_frozen=parameters(*encoding),
            client_trained=parameters(client.stem, trained=True) if server.returns_gradient else 0,
            server_frozen=parameters(server.unet),
            server_trained=parameters(server.controlnet, server.adapter, trained=True),
        )


@dataclass(frozen=True, eq=False)
class Wire:
    """The tensors that one record sends in one step, ``(1, ...)`` each, without data."""

    up: Mapping[Channel, Tensor]
    down: Mapping[Channel, Tensor]

    @classmethod
    def of(cls, client: ClientHalf, server: ServerHalf, image_size: int) -> Wire:
        """What the client releases, and what the protocol answers with tensors of the same shapes."""
        sent = released(client, image_size)
        up, down = dict(sent), {}
        if not server.keeps_loss:
            up[LOSS_GRADIENT] = down[PREDICTION_DOWN] = up.pop(NOISE_TARGET)
        if server.returns_gradient:
            down[GRADIENT_DOWN] = sent[CONTROL_FEATURES]
        return cls(up, down)


@torch.no_grad()
def released(client: ClientHalf, image_size: int) -> dict[Channel, Tensor]:
    """What the client sends of one blank record."""
    blank = torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8)
    records = Records(
        ids=("blank",),
        images=blank,
        conditions=blank,
        prompts=("",),
        identities=(None,),
        attributes=({},),
    )
    rng = ClientRandomness.seeded(0)
    return client.release(client.encode(records, [0], rng), rng)


def payload(tensors: Iterable[Tensor], dtype: torch.dtype) -> int:
    """Bytes of the tensors with all fractions in ``dtype``, without a message's header of a few hundred bytes."""
    return sum(t.numel() * (dtype if t.is_floating_point() else t.dtype).itemsize for t in tensors)
