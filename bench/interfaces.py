"""The seams a plugin fills: data sets, victims, attacks and metrics.

Data flows one way: records, victim with defence, transcript, view, attack, claim, scores. Each class
here is one arrow of that way and sees nothing of what lies behind it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from bench.adversary import ServerAdversary
from bench.certificate import Certificate
from bench.channels import Channel
from bench.data.conditions import AUTO, DEFAULT
from bench.defense import Defense
from bench.effort import Effort
from bench.errors import BenchError, RequestError
from bench.facts import Fact
from bench.images import ImageBatch
from bench.plugin import Plugin
from bench.progress import Progress
from bench.public import Public
from bench.records import Records
from bench.rng import generator as generator
from bench.targets import TARGETS
from bench.wording import Wording

if TYPE_CHECKING:
    from bench.backbones.base import BackboneSet
    from bench.capture import Capture
    from bench.gallery import Gallery
    from bench.links import Links
    from bench.threat import View


class Dataset(Plugin, ABC):
    """A source of records, deterministic in its parameters."""

    @abstractmethod
    def load(self, limit: int, *, image_size: int, condition: str, progress: Progress) -> Records:
        """Up to ``limit`` records as ``image_size`` x ``image_size`` pixels.

        A record depends on its number and the parameters, not on ``limit``.

        Args:
            condition: what hint images to give: an extractor (``bench.data.conditions``), or a name of
                hints that the data set has itself.

        Raises:
            DataError: the source is missing or malformed; the message names the file and line.
            RequestError: the data set cannot give such hints, or pictures of this size.
        """

    def resolve(self, condition: str) -> str:
        """What ``load`` is to be given for ``condition``; a data set with hints of its own says which is ``auto``.

        Raises:
            DataError: as ``load``.
        """
        return DEFAULT if condition == AUTO else condition

    def gallery(self, identities: Sequence[str], strangers: int, *, image_size: int) -> Gallery | None:
        """Another photograph of each identity, then of so many people that no record shows; none of them is a record.

        None where the data set has no such photographs.
        """
        return None


@dataclass(frozen=True)
class TrainingPlan:
    """How long and on what a victim trains.

    Attributes:
        epochs: passes over the private records.
        batch_size: records a step.
        learning_rate: of AdamW, for everything trainable.
        seed: of every random choice in training, the clients' included; the runner hands over
            :func:`bench.training.client_seed`, which no attack can find.
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
        condition: kind of the hints, by which they are found again in the samples where that can be.
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
    hijackable: ClassVar[frozenset[str]] = frozenset()  # protocols in which the client trains with what comes down
    takes_insertion: ClassVar[bool] = False  # has a network of its clients that a defence may put layers into

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
        self, records: Records, defense: Defense, plan: TrainingPlan, *, protocol: str, out: Path, progress: Progress
    ) -> Capture:
        """Train on the private records; write transcript, secrets and trained model under ``out``."""

    @abstractmethod
    def public(self, defense: Defense | None, auxiliary: Records, *, protocol: str, device: str) -> Public:
        """What an attacker can rebuild without the wire; shares no object with this victim."""

    @abstractmethod
    def utility(
        self, capture: Capture, held_out: Records, defense: Defense, plan: UtilityPlan, *, protocol: str
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


@dataclass(frozen=True)
class Budget:
    """What an attack may spend.

    Attributes:
        iterations: optimiser steps.
        batch_size: records a step.
    """

    iterations: int
    batch_size: int


@dataclass(frozen=True, eq=False)
class Estimate:
    """Pictures with, where known, the latents they were decoded from."""

    images: ImageBatch
    latents: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Claim:
    """What an attack says the secrets behind the view's target releases are, in their order.

    Attributes:
        estimates: by target: pictures of ``"image"`` and ``"condition"``, texts of ``"prompt"``, ``Labels`` of
            ``"attribute"``, a ``Lineup`` of ``"identity"``. A target left out is not claimed.
        diagnostics: numbers the attack wants in its row, such as its final loss; the columns are ``attack_*``
            (``bench.diagnostics``).
        labels: where clients learn classes, how much speaks for each class, ``(N, K)``; a plain answer is one-hot.
        links: which releases of the view, all of them, are of one record; None is not claimed.
    """

    estimates: Mapping[str, Estimate | Wording | Fact]
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    labels: Tensor | None = None
    links: Links | None = None


class Attack(Plugin, ABC):
    """Turns a view into a claim."""

    requires: ClassVar[frozenset[Channel]] = frozenset()
    adapts_to: ClassVar[tuple[str, ...]] = ()
    uses_history: ClassVar[bool] = False  # wants the releases of every epoch in its view
    default_budget: ClassVar[Budget] = Budget(iterations=0, batch_size=32)
    certificates: ClassVar[tuple[Certificate, ...]] = ()
    effort: ClassVar[Effort | None] = None  # what a curve of its success runs over
    malicious: ClassVar[bool] = False  # needs a server that misbehaves; take_over makes it
    speaks_of: ClassVar[tuple[str, ...]] = TARGETS  # its cells have a row for each of these targets

    @property
    def candidates(self) -> int:
        """How many photographs its gallery has at least; 0 is no gallery."""
        return 0

    @abstractmethod
    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        """Attack the view's targets.

        Raises:
            NotApplicableError: the view cannot support this attack; the message says why.
        """

    def take_over(self, public: Public, *, rng: torch.Generator, progress: Progress) -> ServerAdversary:
        """The server of a malicious attack, before the victim trains; ``run`` sees the transcript that results.

        Raises:
            BenchError: this attack is a passive one.
        """
        raise BenchError(f"attack {self.name!r} is passive; it takes no server over")
