"""The victim: a distributed training pipeline that is attacked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from bench.interfaces.defense import Defense
from bench.interfaces.plugin import Plugin
from bench.interfaces.public import Public
from bench.interfaces.server_adversary import ServerAdversary
from bench.types.channels import Channel
from bench.types.records import Records
from bench.util.errors import RequestError
from bench.util.progress import Progress

if TYPE_CHECKING:
    from bench.interfaces.backbone import BackboneSet
    from bench.wire.capture import Capture


@dataclass(frozen=True)
class TrainingPlan:
    """How long and on what a victim trains.

    Attributes:
        epochs: passes over the private records.
        batch_size: records a step.
        learning_rate: of AdamW, for everything trainable.
        seed: of every random choice in training, the clients' included; the runner hands over
            :func:`bench.cell.training.client_seed`, which no attack can find.
        device: torch device name.
        dtype: ``fp32`` or ``bf16`` (autocast of the server half).
        adversary: who answers in the server's place, or None.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    device: str
    dtype: str
    adversary: ServerAdversary | None = None


@dataclass(frozen=True, eq=False)
class UtilityPlan:
    """How the quality of a trained model is measured.

    Attributes:
        steps: sampling steps.
        guidance: classifier-free guidance scale; 1 is none.
        seed: of the sampling noise.
        condition: kind of the hints, by which they are found again in the samples where that can
            be.
    """

    steps: int
    guidance: float
    seed: int
    device: str
    condition: str
    backbones: BackboneSet
    progress: Progress


class Victim(Plugin, ABC):
    """A distributed training pipeline that is attacked."""

    protocols: ClassVar[tuple[str, ...]]
    hijackable: ClassVar[frozenset[str]] = (
        frozenset()
    )  # protocols in which the client trains with what comes down
    takes_insertion: ClassVar[bool] = (
        False  # has a network of its clients that a defence may put layers into
    )

    def check_defense(self, defense: Defense) -> None:
        """Refuse a defence that the victim has no place for.

        Raises:
            RequestError: with the reason.
        """
        if defense.insertion() is not None and not self.takes_insertion:
            names = "+".join(part.name for part in defense.flat() if part.insertion() is not None)
            raise RequestError(
                f"defence {names!r} puts layers before the output of a network that a client trains; victim "
                f"{self.name!r} has no place for them"
            )

    @abstractmethod
    def channels(self, protocol: str) -> frozenset[Channel]:
        """Everything that crosses the wire under ``protocol``."""

    @abstractmethod
    def train(
        self,
        records: Records,
        defense: Defense,
        plan: TrainingPlan,
        *,
        protocol: str,
        out: Path,
        progress: Progress,
    ) -> Capture:
        """Train on the private records; write transcript, secrets and trained model under ``out``."""

    @abstractmethod
    def public(
        self, defense: Defense | None, auxiliary: Records, *, protocol: str, device: str
    ) -> Public:
        """What an attacker can rebuild without the wire; shares no object with this victim."""

    @abstractmethod
    def utility(
        self,
        capture: Capture,
        held_out: Records,
        defense: Defense,
        plan: UtilityPlan,
        *,
        protocol: str,
    ) -> Mapping[str, float]:
        """Quality of the trained model on held-out records, by name."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of the model this victim starts from: weights and configuration."""

    def check(self, image_size: int) -> None:
        """Refuse records of a size that the model cannot take.

        Raises:
            RequestError: with the reason.
        """

    def check_records(self, records: Records, progress: Progress) -> None:
        """Say which records the model cannot take in whole; called before anything is trained."""

    def labels(self, records: Records) -> Tensor | None:
        """The class that clients train each record to be, ``(N,)`` int64, or None where they learn no classes."""
        return None

    def notes(self) -> Mapping[str, str]:
        """Facts about the victim's model for ``bench describe``."""
        return {}
