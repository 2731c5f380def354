"""The contract of a victim: a distributed training pipeline that is attacked."""

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
    """How long a victim trains, and on what device.

    Attributes:
        epochs: passes over the private records.
        batch_size: records per step.
        learning_rate: learning rate of AdamW for all trainable weights.
        seed: seed of every random choice in training, the clients' included. The runner passes
            :func:`bench.cell.training.client_seed`, which no attack can find.
        device: torch device name.
        dtype: ``fp32`` or ``bf16`` (autocast of the server half).
        adversary: the server that answers in place of the honest one, or None.
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
        guidance: classifier-free guidance scale; 1 is no guidance.
        seed: seed of the sampling noise.
        device: torch device name.
        condition: kind of the hints, so that they can be extracted from the samples again.
        backbones: feature extractors of the quality metrics.
        progress: where long work reports how far it is.
    """

    steps: int
    guidance: float
    seed: int
    device: str
    condition: str
    backbones: BackboneSet
    progress: Progress


class Victim(Plugin, ABC):
    """Base class of victims: distributed training pipelines that are attacked.

    Attributes:
        protocols: names of the protocols under which the victim can train; the first is the
            default.
        hijackable: protocols in which the client trains with what the server sends down.
        takes_insertion: whether a defence may insert layers into a network of the victim's clients.
    """

    protocols: ClassVar[tuple[str, ...]]
    hijackable: ClassVar[frozenset[str]] = frozenset()
    takes_insertion: ClassVar[bool] = False

    def check_defense(self, defense: Defense) -> None:
        """Refuse a defence that the victim cannot apply.

        Raises:
            RequestError: the defence inserts layers, and this victim cannot take any.
        """
        if defense.insertion() is not None and not self.takes_insertion:
            names = "+".join(part.name for part in defense.flat() if part.insertion() is not None)
            raise RequestError(
                f"defence {names!r} inserts layers before the output of a network that a client "
                f"trains; victim {self.name!r} has no place for them"
            )

    @abstractmethod
    def channels(self, protocol: str) -> frozenset[Channel]:
        """Return every channel that crosses the wire under ``protocol``."""

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
        """Train on private records; write transcript, secrets and trained model under ``out``.

        Args:
            records: the private records.
            defense: the defence that the client applies.
            plan: length and device of the training.
            protocol: one of ``protocols``.
            out: directory of the capture.
            progress: where long work reports how far it is.
        """

    @abstractmethod
    def public(
        self, defense: Defense | None, auxiliary: Records, *, protocol: str, device: str
    ) -> Public:
        """Return what an attacker can rebuild without the wire, with no object of this victim.

        Args:
            defense: a copy of the defence, or None where the attacker does not know it.
            auxiliary: the attacker's records.
            protocol: one of ``protocols``.
            device: torch device name.
        """

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
        """Return the quality of the trained model on held-out records, by name."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of the initial model: weights and configuration."""

    def check(self, image_size: int) -> None:
        """Refuse records of a size that the model cannot take.

        Raises:
            RequestError: pictures of ``image_size`` pixels do not fit; the message gives the
                reason.
        """

    def check_records(self, records: Records, progress: Progress) -> None:
        """Note which records the model has to truncate; called before training."""

    def labels(self, records: Records) -> Tensor | None:
        """Return the class that clients learn for each record, ``(N,)`` int64, or None."""
        return None

    def notes(self) -> Mapping[str, str]:
        """Return facts about the victim's model for ``bench describe``, by name."""
        return {}
