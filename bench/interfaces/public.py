"""What every attacker knows besides the wire: public weights, noise schedule, auxiliary records."""

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
from bench.types.estimate import Estimate
from bench.types.images import ImageBatch
from bench.types.records import Records
from bench.types.schedule import NoiseSchedule
from bench.util.errors import NotApplicableError

if TYPE_CHECKING:
    from bench.interfaces.defense import Defense


class PublicClient(ABC):
    """The client half as an attacker can rebuild it, with public weights and the known defence.

    The attacker does not know the client's random draws; the rebuilt client draws anew.
    """

    @abstractmethod
    def with_weights(self, parts: Mapping[str, Tensor]) -> PublicClient:
        """Return a copy of this client with trained weights that crossed the wire.

        Args:
            parts: weights by name, as ``View.parts`` gives them.
        """

    @abstractmethod
    def simulator(self, records: Records) -> Simulator:
        """Return a simulator that runs the client on auxiliary records."""

    def forward(self, image_size: int) -> PublicForward:
        """Return the client as a differentiable function of guessed inputs.

        The function holds a copy of the weights, which an attack may change.

        Args:
            image_size: height and width of the records' pictures in pixels.

        Raises:
            NotApplicableError: this client cannot be differentiated.
        """
        raise NotApplicableError("the client half of this victim cannot be differentiated")


class Simulator(ABC):
    """Makes releases of known records, from which an attack learns."""

    @abstractmethod
    def emit(self, index: Sequence[int], rng: torch.Generator) -> Emission:
        """Return what the client would send for the records at ``index``, with fresh randomness."""


@dataclass(frozen=True, eq=False)
class Emission:
    """A simulated release of auxiliary records, together with the truth behind it.

    Attributes:
        sent: tensors by channel, with one row per record.
        image_latents: z0, ``(B, 4, h, w)``.
        condition_latents: z_c, the autoencoder's latents of the condition images, ``(B, 4, h, w)``.
    """

    sent: Mapping[Channel, Tensor]
    image_latents: Tensor
    condition_latents: Tensor


class Codec(ABC):
    """The public autoencoder between images and latents."""

    @abstractmethod
    def encode(self, images: ImageBatch) -> Tensor:
        """Return the mean latents of images, ``(N, 4, h, w)``, in the diffusion model's scale."""

    @abstractmethod
    def decode(self, latents: Tensor) -> ImageBatch:
        """Return the images of scaled latents ``(N, 4, h, w)``."""

    def estimate(self, latents: Tensor) -> Estimate:
        """Return latents ``(N, 4, h, w)`` on the CPU together with the images they decode to."""
        return Estimate(self.decode(latents), latents.cpu())

    def render(self, latents: Tensor) -> Tensor:
        """Return the pixels of scaled latents, ``(N, 3, H, W)``, differentiable and not clamped.

        Raises:
            NotApplicableError: this codec cannot be differentiated.
        """
        raise NotApplicableError("the autoencoder of this victim cannot be differentiated")


class Denoiser(ABC):
    """The public diffusion model as a prior over image latents, with frozen weights."""

    @abstractmethod
    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        states: Tensor | None = None,
        pooled: Tensor | None = None,
    ) -> Tensor:
        """Return the network's output, ``(N, 4, h, w)``, differentiable in ``noisy``.

        The output predicts ``NoiseSchedule.target`` of the true latents. From it
        ``NoiseSchedule.clean`` gives the posterior mean of z0 (Tweedie's formula), and
        ``NoiseSchedule.noise_in`` that of eps.

        Args:
            noisy: x_t, ``(N, 4, h, w)``.
            timesteps: t, ``(N,)`` int64.
            states: text-encoder states of prompts, ``(N, L, D)``; None is the empty prompt.
            pooled: pooled embeddings of the same prompts, ``(N, P)``, where the model takes them;
                None is the empty prompt.
        """


@dataclass(frozen=True, eq=False)
class Public:
    """Everything that an attacker knows besides the wire.

    No object in it leads to the secrets, to the victim object or to its private records.

    Attributes:
        client: the public client half under the known defence, or None where the threat model
            denies it.
        codec: the public autoencoder.
        schedule: the public noising process.
        stem: the frozen first convolution of the UNet (``nn.Conv2d``), or None.
        defense: the defence object, or None where the threat model denies knowledge of it.
        protocol: name of the victim's protocol.
        auxiliary: records that the attacker owns; none of them is private.
        device: torch device on which the attack computes.
        trainer: the client's local training, where updates cross the wire, else None.
        text: the text encoder with its tokenizer, where the victim uses prompts, else None.
        denoiser: the public diffusion model, or None.
        labels: the class of each auxiliary record, ``(N,)`` int64, where clients learn public
            classes, else None.
        gallery: photographs of people, the private ones among them, for attacks that ask for
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
        """Return a copy for an attacker who does not know the client's public weights."""
        return replace(self, client=None, stem=None, trainer=None, text=None, denoiser=None)
