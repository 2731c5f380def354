"""What every attacker knows besides the wire: public weights, the noising process, and records of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.interfaces.public_forward import PublicForward
from bench.interfaces.public_text import PublicText
from bench.interfaces.public_trainer import PublicTrainer
from bench.types.channels import Channel
from bench.types.images import ImageBatch
from bench.types.records import Records
from bench.types.schedule import NoiseSchedule
from bench.util.errors import NotApplicableError

if TYPE_CHECKING:
    from bench.interfaces.defense import Defense


class PublicClient(ABC):
    """The client half as an attacker can rebuild it: public weights, known defence, own randomness."""

    @abstractmethod
    def with_weights(self, parts: Mapping[str, Tensor]) -> PublicClient:
        """The same with trained weights that crossed the wire."""

    @abstractmethod
    def simulator(self, records: Records) -> Simulator:
        """Runs the client on the attacker's own records."""

    def forward(self, image_size: int) -> PublicForward:
        """The client as a differentiable function of guessed inputs, with weights of its own.

        Args:
            image_size: height and width of the records' pictures.

        Raises:
            NotApplicableError: this client has none.
        """
        raise NotApplicableError("the client half of this victim cannot be differentiated")


class Simulator(ABC):
    """Makes releases of known records, for an attack to learn from."""

    @abstractmethod
    def emit(self, index: Sequence[int], rng: torch.Generator) -> Emission:
        """What the client would send for the records at ``index``, with fresh randomness."""


@dataclass(frozen=True, eq=False)
class Emission:
    """A simulated release together with the truth behind it (the attacker's own records).

    Attributes:
        sent: tensors by channel, rows aligned with the records.
        image_latents: z0, ``(B, 4, h, w)``.
        condition_latents: z_c, ``(B, 4, h, w)``: the autoencoder's latent of the condition image.
    """

    sent: Mapping[Channel, Tensor]
    image_latents: Tensor
    condition_latents: Tensor


class Codec(ABC):
    """The public autoencoder between images and latents."""

    @abstractmethod
    def encode(self, images: ImageBatch) -> Tensor:
        """Mean latents, scaled, ``(N, 4, h, w)``."""

    @abstractmethod
    def decode(self, latents: Tensor) -> ImageBatch:
        """Images of scaled latents."""

    def render(self, latents: Tensor) -> Tensor:
        """The same as pixels ``(N, 3, H, W)``, differentiable and not clamped to [0, 1].

        Raises:
            NotApplicableError: this codec cannot be differentiated.
        """
        raise NotApplicableError("the autoencoder of this victim cannot be differentiated")


class Denoiser(ABC):
    """The public diffusion model as a prior over image latents; differentiable in them, its weights frozen."""

    @abstractmethod
    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        states: Tensor | None = None,
        pooled: Tensor | None = None,
    ) -> Tensor:
        """The network's output, ``(N, 4, h, w)``: what ``NoiseSchedule.target`` is of the true
        latents.

        With ``NoiseSchedule.clean`` it gives the posterior mean of z0 (Tweedie's formula), with
        ``NoiseSchedule.noise_in`` that of eps.

        Args:
            noisy: x_t, ``(N, 4, h, w)``.
            timesteps: t, ``(N,)`` int64.
            states: of prompts, ``(N, L, D)``; None is the empty prompt.
            pooled: embeddings of the same prompts, ``(N, P)``, where the model takes them; None is
                the empty prompt's.
        """


@dataclass(frozen=True, eq=False)
class Public:
    """Everything an attacker knows apart from the wire.

    Nothing in it may lead to the secrets, to the victim object or to its private records.

    Attributes:
        client: the public client half under the known defence, or None where the threat model
            denies it.
        codec: the public autoencoder.
        schedule: the public noising process.
        stem: the frozen first convolution of the UNet (``nn.Conv2d``), or None.
        defense: the defence object, or None where the threat model denies knowledge of it.
        protocol: what kind of exchange this is.
        auxiliary: records of the attacker's own.
        device: where to compute.
        trainer: the client's local training, where updates cross the wire.
        text: the text encoder with its tokenizer, where prompts are used at all.
        denoiser: the public diffusion model, where there is one.
        labels: the class of each auxiliary record, ``(N,)`` int64, where clients learn classes that
            anybody can tell.
        gallery: photographs of people among whom the private ones are, for attacks that ask for
            ``candidates``.
    """

    client: PublicClient | None
    codec: Codec
    schedule: NoiseSchedule
    stem: nn.Module | None
    defense: Defense | None
    protocol: str
    auxiliary: Records
    device: str
    trainer: PublicTrainer | None = None
    text: PublicText | None = None
    denoiser: Denoiser | None = None
    labels: Tensor | None = None
    gallery: ImageBatch | None = None

    def without_weights(self) -> Public:
        """The same for an attacker who does not know the client's public weights."""
        return replace(self, client=None, stem=None, trainer=None, text=None, denoiser=None)
