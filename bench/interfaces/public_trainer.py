"""A client's local training as an attacker can rebuild it, for attacks on updates and gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from bench.types.channels import Channel
from bench.util.errors import NotApplicableError

if TYPE_CHECKING:
    from bench.types.estimate import Estimate
    from bench.types.records import Records


@dataclass(frozen=True)
class Unknown:
    """One input of a local step that an attacker may have to guess.

    Attributes:
        shape: shape for one record, such as ``(4, h, w)``.
        low: the smallest value, or None where there is none.
        high: the largest value, or None where there is none.
        integer: whether the input takes whole numbers only (timesteps, labels), 0 to ``high``.
        simplex: whether its numbers are probabilities that add up to 1, such as a soft label; a
            true one is one-hot.
        latent: whether it is the public autoencoder's latent of the record's picture, so that the
            public denoiser is its prior.
        channel: the channel that carries it where it crosses the wire, so that it need not be
            guessed; else None.
    """

    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    integer: bool = False
    simplex: bool = False
    latent: bool = False
    channel: Channel | None = None


@dataclass(frozen=True)
class LocalTraining:
    """How a client turns the weights that it receives into an update; public knowledge.

    Attributes:
        optimizer: the client's optimizer.
        learning_rate: the optimizer's learning rate.
        records: how many records go into one update.
        batch_size: records per local step; there are ``ceil(records / batch_size)`` steps.
    """

    optimizer: Literal["sgd", "adamw"]
    learning_rate: float
    records: int
    batch_size: int


class PublicTrainer(ABC):
    """The local loss and its gradient, from public code and the weights that crossed the wire.

    ``gradient`` is pure, differentiable with respect to its float inputs, and runs under
    ``torch.func.vmap`` (weights unbatched, inputs batched over targets).

    Attributes:
        local: how the client trains.
        behind_noise: names of weights of layers that see the record only through noise that the
            client draws.
    """

    local: LocalTraining
    behind_noise: frozenset[str] = frozenset()

    def inputs(self, records: Records) -> Mapping[str, Tensor]:
        """Return the inputs of a step on known records, ``(N, *shape)`` by name, without noise.

        Raises:
            NotApplicableError: this training cannot give them.
        """
        raise NotApplicableError(
            "this client's training does not say what it makes of known records"
        )

    @abstractmethod
    def unknowns(self) -> Mapping[str, Unknown]:
        """Return every input of a step besides the weights, by name."""

    @abstractmethod
    def gradient(
        self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the gradient of the mean loss of one batch, by the names of ``weights``.

        Args:
            weights: the weights of the model, by name.
            inputs: tensors ``(B, *shape)``, by the names of ``unknowns``.
        """

    @abstractmethod
    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        """Return what recovered inputs ``(N, *shape)`` claim, by target."""
