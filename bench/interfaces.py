"""The seams a plugin fills: data sets, defences, victims, attacks and metrics.

Data flows one way: records, victim with defence, transcript, view, attack, claim, scores. Each class
here is one arrow of that way and sees nothing of what lies behind it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.adversary import ServerAdversary
from bench.certificate import Certificate
from bench.channels import CLIENT_UPDATE, Channel
from bench.data.conditions import AUTO, DEFAULT
from bench.effort import Effort
from bench.errors import BenchError, RequestError
from bench.facts import Fact
from bench.images import ImageBatch
from bench.insertion import Insertion
from bench.plugin import Plugin
from bench.progress import Progress
from bench.public import Public
from bench.records import Records
from bench.schedule import NoiseSchedule
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


@dataclass(frozen=True, eq=False)
class Representation:
    """What enters a client's linear head, for defences that protect an update by it.

    Attributes:
        head: name of the head's weight ``(K, D)`` in the update.
        measure: gives the features ``(B, D)`` of the records behind the update and the l2 norm ``(B, D)`` of each
            one's gradient with respect to its record; called only where a defence asks, since it is costly.
    """

    head: str
    measure: Callable[[], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class ProtectContext:
    """What a defence may use on the client when a tensor is about to leave it.

    Attributes:
        phase: ``"training"`` or ``"inference"`` (a deployed client protects there too).
        timesteps: t of each sample, ``(B,)``.
        schedule: the model's noising process.
        empty_prompt: text-encoder states of the empty prompt, ``(1, L, D)``, a public constant.
        record_ids: the client's own names of the records; never sent.
        rng: the client's private randomness.
        secret: a number that the client keeps from training to deployment; an attacker's simulation has another.
        representation: of the records behind an update, where the client's model ends in a linear head.
    """

    phase: str
    timesteps: Tensor
    schedule: NoiseSchedule
    empty_prompt: Tensor
    record_ids: Sequence[str]
    rng: torch.Generator
    representation: Representation | None = None
    secret: int = 0


@dataclass(frozen=True)
class Guarantee:
    """A formal privacy statement, computed and not claimed.

    Attributes:
        epsilon: of (epsilon, delta)-differential privacy, over all releases of one unit; infinite where
            the accountant finds none.
        delta: likewise.
        unit: what two neighbouring inputs differ in.
        sensitivity: the bound on that difference, with its norm.
        releases: how many releases of one unit are composed.
        voided_by: channels that, when they cross the wire too, void the statement.
        mu: of the Gaussian mechanism behind it, all releases together, where it is one (arXiv:1905.02383).
        once: the releases are all the same, so that they count as one.
    """

    epsilon: float
    delta: float
    unit: str
    sensitivity: str
    releases: int
    voided_by: tuple[Channel, ...] = ()
    mu: float | None = None
    once: bool = False


class Defense(Plugin):
    """A change to what the client does or sends; every hook's default is the undefended behaviour."""

    withheld: frozenset[Channel] = frozenset()  # channels it takes off the wire
    record_gradients: bool = False  # a client that trains must ask local_gradient for the gradient of each step
    sends_latent: bool = False  # x_t itself crosses as unet_features, and the server applies conv_in
    stands_for: ClassVar[str] = ""  # a stack of others that this name is short for

    def flat(self) -> tuple[Defense, ...]:
        """The single defences this one is made of."""
        return (self,)

    def check(self, schedule: NoiseSchedule, channels: frozenset[Channel]) -> None:
        """Refuse a victim on which the defence makes no sense.

        Raises:
            RequestError: with the reason.
        """

    def wire(self, channels: frozenset[Channel]) -> frozenset[Channel]:
        """What crosses the wire where ``channels`` would without this defence."""
        return channels - self.withheld

    def prepare(self, private: Mapping[str, Tensor], rng: torch.Generator) -> Mapping[str, Tensor]:
        """A batch as it enters the client's half, before any noise.

        Args:
            private: ``image_latents`` z0 and ``condition_latents`` z_c ``(B, 4, h, w)``, ``condition`` ``(B, 3, H, W)``
                in [0, 1], ``text`` ``(B, L, D)``; all are returned, in the same shapes.
        """
        return private

    def sample_timesteps(self, record_ids: Sequence[str], schedule: NoiseSchedule, rng: torch.Generator) -> Tensor:
        """t of each record of a batch, ``(B,)`` int64 in [0, T). Undefended: uniform."""
        return torch.randint(0, schedule.steps, (len(record_ids),), generator=rng)

    def sample_noise(self, record_ids: Sequence[str], shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
        """eps of a batch, float32. Undefended: standard normal, fresh for every release."""
        return torch.randn(shape, generator=rng)

    def first_timestep(self, schedule: NoiseSchedule) -> int:
        """The smallest t that ``sample_timesteps`` may draw."""
        return 0

    def control_from(self, schedule: NoiseSchedule, first: int) -> int:
        """The smallest t at which the control network takes part in sampling; below, the frozen UNet works alone.

        Args:
            first: the smallest t that the network was trained at.
        """
        return 0

    def control_input(self, noisy: Tensor, context: ProtectContext) -> Tensor:
        """What the client's stem adds the condition to, ``(B, 4, h, w)``, in training and in sampling.

        Undefended: x_t, which the frozen UNet gets too.
        """
        return noisy

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        """The tensor as it leaves the client; must be differentiable where the client trains."""
        return tensor

    def surrogate(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        """What an attacker who knows the defence puts in place of ``protect`` when it searches for inputs.

        Where ``protect`` rounds, a useful slope; where it draws, what to expect, if that is better than draws of one's
        own. ``context.record_ids`` mean nothing here. By default ``protect`` itself.
        """
        return self.protect(channel, tensor, context)

    def local_gradient(self, records: Iterable[Mapping[str, Tensor]], rng: torch.Generator) -> Mapping[str, Tensor]:
        """The gradient of one local step, by parameter, from those of its records, which come one at a time.

        Asked only where ``record_gradients`` is set. Undefended: their mean.
        """
        mean: dict[str, Tensor] = {}
        for count, gradient in enumerate(records, 1):
            mean = {name: mean[name] + (g - mean[name]) / count if mean else g for name, g in gradient.items()}
        return mean

    def protect_update(self, update: Mapping[str, Tensor], context: ProtectContext) -> dict[str, Tensor]:
        """A whole update as it leaves the client, by the names of its tensors: each through ``protect``."""
        return {name: self.protect(CLIENT_UPDATE, tensor, context) for name, tensor in update.items()}

    def client_loss(self, private: Mapping[str, Tensor], sent: Mapping[Channel, Tensor]) -> Tensor | None:
        """An extra loss for clients that train, or None."""
        return None

    def server_adapter(self, empty_prompt: Tensor) -> ServerAdapter | None:
        """A module that the server applies to what it receives, and trains, or None."""
        return None

    def insertion(self) -> Insertion | None:
        """Layers that go into the network a client trains, before its output layer, or None."""
        return None

    def guarantee(self, releases: int, schedule: NoiseSchedule) -> Guarantee | None:
        """The formal statement for ``releases`` releases of one record, or None."""
        return None

    def qualify(self, statement: Guarantee, schedule: NoiseSchedule) -> Guarantee:
        """The statement of another defence, as it stands beside this one."""
        return statement

    def added_noise(self, channel: Channel, size: int) -> float:
        """Standard deviation of the Gaussian noise that ``protect`` adds to every number of a channel.

        Args:
            size: how many numbers a record has there.
        """
        return 0.0


class CompositeDefense(Defense):
    """A defence made of others; the one registered as ``compose`` builds every stack."""

    parts: tuple[Defense, ...]

    def flat(self) -> tuple[Defense, ...]:
        return tuple(single for part in self.parts for single in part.flat())

    @classmethod
    @abstractmethod
    def of(cls, parts: Sequence[Defense]) -> CompositeDefense:
        """The stack of ``parts``, in order.

        Raises:
            RequestError: two of them cannot be stacked.
        """


class ServerAdapter(nn.Module):
    """The server's counterpart of a defence; part of the server half, so trainable from the wire."""

    def forward(self, channel: str, tensor: Tensor) -> Tensor:
        """The received tensor as the server's networks should see it."""
        return tensor


@dataclass(frozen=True)
class TrainingPlan:
    """How long and on what a victim trains.

    Attributes:
        epochs: passes over the private records.
        batch_size: records a step.
        learning_rate: of AdamW, for everything trainable.
        seed: of every random choice in training.
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
        diagnostics: numbers the attack wants in its row, such as its final loss.
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


def generator(seed: int, *words: str) -> torch.Generator:
    """A CPU generator of its own for each purpose, so that adding one draw shifts no other stream."""
    digests = (int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") for word in words)
    state = np.random.SeedSequence([seed, *digests])
    rng = torch.Generator()
    rng.manual_seed(int(state.generate_state(1, np.uint64)[0] >> np.uint64(1)))
    return rng
