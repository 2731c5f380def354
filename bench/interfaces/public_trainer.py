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
    """One thing that a local step is computed on and that an attacker may have to guess.

    Attributes:
        shape: of one record, such as ``(4, h, w)``.
        low, high: its range, or None where it has none.
        integer: it takes whole numbers only (timesteps, labels); ``high`` is then the largest.
        simplex: its numbers are probabilities that add up to 1, such as a soft label; a true one is
            one-hot.
        latent: it is what the public autoencoder makes of the record's picture, so the public
            denoiser is its prior.
        channel: what carries it where it crosses the wire; then nobody has to guess.
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
    """How a client turns the weights it was sent into an update; public knowledge.

    Attributes:
        records: how many went into one update.
        batch_size: records a local step; there are ``ceil(records / batch_size)`` steps.
    """

    optimizer: Literal["sgd", "adamw"]
    learning_rate: float
    records: int
    batch_size: int


class PublicTrainer(ABC):
    """The local loss and its gradient, from public code and the weights that crossed the wire.

    ``gradient`` is pure, differentiable with respect to its float inputs, and runs under
    ``torch.func.vmap`` (weights unbatched, inputs batched over targets).
    """

    local: LocalTraining
    behind_noise: frozenset[str] = (
        frozenset()
    )  # weights of layers that see the record through the client's own noise

    def inputs(self, records: Records) -> Mapping[str, Tensor]:
        """What a step on known records is computed on, by the names of ``unknowns``, ``(N,
        *shape)``; no noise.

        Raises:
            NotApplicableError: this training does not say.
        """
        raise NotApplicableError(
            "this client's training does not say what it makes of known records"
        )

    @abstractmethod
    def unknowns(self) -> Mapping[str, Unknown]:
        """By name, everything a step is computed on besides the weights."""

    @abstractmethod
    def gradient(
        self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Gradient of the mean loss of one batch, by the names of ``weights``; ``inputs`` are ``(B, *shape)``."""

    @abstractmethod
    def estimates(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Estimate]:
        """What recovered inputs ``(N, *shape)`` claim, by target."""
