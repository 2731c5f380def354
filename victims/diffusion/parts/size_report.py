"""Count the parameters on either side of the cut and the bytes on the wire.

Everything is counted on the halves that the victim builds on the device ``meta``, where tensors
have shapes and no data; Stable Diffusion 1.5 takes seconds and little memory.
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
    """Return the number of parameters of the modules.

    Args:
        modules: the modules; None is skipped.
        trained: whether to count only trainable or only frozen parameters; None counts both.
    """
    return sum(
        p.numel()
        for m in modules
        if m is not None
        for p in m.parameters()
        if trained in (None, p.requires_grad)
    )


def model_parts(model: StableDiffusion, controlnet: Any) -> dict[str, int]:
    """Return the number of parameters of each network, by name."""
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
class ParameterCounts:
    """Holds the number of parameters on the client and on the server.

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
    def from_halves(cls, client: ClientHalf, server: ServerHalf) -> ParameterCounts:
        """Count the parameters of both halves."""
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
class WireTensors:
    """Holds the tensors of one record and step on the wire, ``(1, ...)`` each, without data.

    Attributes:
        up: the tensors to the server.
        down: the tensors to the client.
    """

    up: Mapping[Channel, Tensor]
    down: Mapping[Channel, Tensor]

    @classmethod
    def from_halves(cls, client: ClientHalf, server: ServerHalf, image_size: int) -> WireTensors:
        """Return the client's release of a record, and answers in the protocol's shapes."""
        sent = release_of_blank(client, image_size)
        up, down = dict(sent), {}
        if not server.keeps_loss:
            up[LOSS_GRADIENT] = down[PREDICTION_DOWN] = up.pop(NOISE_TARGET)
        if server.returns_gradient:
            down[GRADIENT_DOWN] = sent[CONTROL_FEATURES]
        return cls(up, down)


@torch.no_grad()
def release_of_blank(client: ClientHalf, image_size: int) -> dict[Channel, Tensor]:
    """Return the tensors that the client sends of one blank record."""
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
    """Return the bytes of the tensors with all floating-point numbers in ``dtype``.

    A message has a header of a few hundred bytes besides.
    """
    return sum(t.numel() * (dtype if t.is_floating_point() else t.dtype).itemsize for t in tensors)
