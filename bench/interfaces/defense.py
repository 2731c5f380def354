"""The seam of a defence: what it may change in what a client does or sends, and what it promises.

Every hook's default is the undefended behaviour, so that a stack is the composition of its parts'
hooks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.interfaces.defense_statements import LossFeedback, UpdateProtection
from bench.interfaces.inserted_layers import InsertedLayers
from bench.interfaces.plugin import Plugin
from bench.interfaces.trained_part import TrainedPart
from bench.types.channels import CLIENT_UPDATE, Channel
from bench.types.schedule import NoiseSchedule


@dataclass(frozen=True, eq=False)
class Representation:
    """What enters a client's linear head, for defences that protect an update by it.

    Attributes:
        head: name of the head's weight ``(K, D)`` in the update.
        measure: gives the features ``(B, D)`` of the records behind the update and the l2 norm
            ``(B, D)`` of each one's gradient with respect to its record; called only where a
            defence asks, since it is costly.
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
        secret: a number that the client keeps from training to deployment; an attacker's simulation
            has another.
        representation: of the records behind an update, where the client's model ends in a linear
            head.
        empty_pooled: pooled embedding of the empty prompt, ``(1, P)``, where the model has one.
    """

    phase: str
    timesteps: Tensor
    schedule: NoiseSchedule
    empty_prompt: Tensor
    record_ids: Sequence[str]
    rng: torch.Generator
    representation: Representation | None = None
    secret: int = 0
    empty_pooled: Tensor | None = None


@dataclass(frozen=True)
class Guarantee:
    """A formal privacy statement, computed and not claimed.

    Attributes:
        epsilon: of (epsilon, delta)-differential privacy, over all releases of one unit; infinite
            where the accountant finds none.
        delta: of (epsilon, delta)-differential privacy.
        unit: what two neighbouring inputs differ in.
        sensitivity: the bound on that difference, with its norm.
        releases: how many releases of one unit are composed.
        voided_by: channels that, when they cross the wire too, void the statement.
        mu: of the Gaussian mechanism behind it, all releases together, where it is one
            (arXiv:1905.02383).
        once: the releases are equal, so that they count as one.
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
    """A change to what the client does or sends; every hook's default is to change nothing."""

    withheld: frozenset[Channel] = frozenset()  # channels it takes off the wire
    record_gradients: bool = (
        False  # a client that trains must ask local_gradient for the gradient of each step
    )
    sends_latent: bool = (
        False  # x_t itself crosses as unet_features, and the server applies conv_in
    )
    trained_part: TrainedPart | None = (
        None  # what it trains itself; an instance of each defence object
    )
    sends_as: ClassVar[Mapping[Channel, torch.dtype]] = MappingProxyType(
        {}
    )  # types that protect gives to channels
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
            private: ``image_latents`` z0 and ``condition_latents`` z_c ``(B, 4, h, w)``,
                ``condition`` ``(B, 3, H, W)`` in [0, 1], ``text`` ``(B, L, D)``, and in Stable
                Diffusion XL ``pooled_text`` ``(B, P)``; all are returned, in the same shapes.
        """
        return private

    def sample_timesteps(
        self, record_ids: Sequence[str], schedule: NoiseSchedule, rng: torch.Generator
    ) -> Tensor:
        """T of each record of a batch, ``(B,)`` int64 in [0, T). Undefended: uniform."""
        return torch.randint(0, schedule.steps, (len(record_ids),), generator=rng)

    def sample_noise(
        self, record_ids: Sequence[str], shape: tuple[int, ...], rng: torch.Generator
    ) -> Tensor:
        """Eps of a batch, float32. Undefended: standard normal, fresh for every release."""
        return torch.randn(shape, generator=rng)

    def first_timestep(self, schedule: NoiseSchedule) -> int:
        """The smallest t that ``sample_timesteps`` may draw."""
        return 0

    def control_from(self, schedule: NoiseSchedule, first: int) -> int:
        """Return the smallest t at which the control network takes part in sampling.

        Below it the frozen UNet works alone.

        Args:
            first: the smallest t that the network was trained at.
        """
        return 0

    def control_input(self, noisy: Tensor, context: ProtectContext) -> Tensor:
        """Return what the client's stem adds the condition to, ``(B, 4, h, w)``.

        Used in training and in sampling.

        Undefended: x_t, which the frozen UNet gets too.
        """
        return noisy

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        """The tensor as it leaves the client; must be differentiable where the client trains."""
        return tensor

    def trained_parts(self) -> dict[str, TrainedPart]:
        """What the single defences train, by place in the stack and name of the defence."""
        return {
            f"{place}-{single.name}": single.trained_part
            for place, single in enumerate(self.flat())
            if single.trained_part is not None
        }

    def train_step(self) -> None:
        """Train what the defence trains; called after the client's own optimiser step."""
        for part in self.trained_parts().values():
            part.step()

    def trained_state(self) -> dict[str, Tensor]:
        """All that the defence has trained, on the CPU, by ``part/tensor``."""
        return {
            f"{name}/{key}": tensor.detach().cpu().contiguous()
            for name, part in self.trained_parts().items()
            for key, tensor in part.state().items()
        }

    def restore_trained(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what :meth:`trained_state` of another defence of equal parts returned."""
        for name, part in self.trained_parts().items():
            own = {
                key.removeprefix(f"{name}/"): t
                for key, t in tensors.items()
                if key.startswith(f"{name}/")
            }
            if own:
                part.restore(own)

    def surrogate(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        """Return what an attacker who knows the defence differentiates in place of ``protect``.

        Where ``protect`` rounds, a useful slope; where it draws, what to expect, if that is better
        than fresh draws. ``context.record_ids`` mean nothing here. By default ``protect``
        itself.
        """
        return self.protect(channel, tensor, context)

    def local_gradient(
        self, records: Iterable[Mapping[str, Tensor]], rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Return the gradient of one local step, by parameter, from those of its records.

        The records come one at a time.

        Asked only where ``record_gradients`` is set. Undefended: their mean.
        """
        mean: dict[str, Tensor] = {}
        for count, gradient in enumerate(records, 1):
            mean = {
                name: mean[name] + (g - mean[name]) / count if mean else g
                for name, g in gradient.items()
            }
        return mean

    def protect_update(
        self, update: Mapping[str, Tensor], context: ProtectContext
    ) -> dict[str, Tensor]:
        """Return a whole update as it leaves the client, by the names of its tensors.

        By default each tensor goes through ``protect``.
        """
        return {
            name: self.protect(CLIENT_UPDATE, tensor, context) for name, tensor in update.items()
        }

    def client_loss(
        self, private: Mapping[str, Tensor], sent: Mapping[Channel, Tensor]
    ) -> Tensor | None:
        """An extra loss for clients that train, or None."""
        return None

    def server_adapter(self, empty_prompt: Tensor) -> ServerAdapter | None:
        """A module that the server applies to what it receives, and trains, or None."""
        return None

    def insertion(self) -> InsertedLayers | None:
        """Layers that go into the network a client trains, before its output layer, or None."""
        return None

    def guarantee(self, releases: int, schedule: NoiseSchedule) -> Guarantee | None:
        """The formal statement for ``releases`` releases of one record, or None."""
        return None

    def qualify(self, statement: Guarantee, schedule: NoiseSchedule) -> Guarantee:
        """The statement of another defence, as it stands beside this one."""
        return statement

    def invert(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor | None:
        """Return what ``protect`` was given, from what it returned; None where nothing is stated.

        An attacker who knows the defence calls it with the rows in view, ``(R, ...)`` in the type
        that is sent, and a context without record ids and secret. An attacker checks the answer
        against ``protect``; where it is None or wrong, an attacker seeks an inverse numerically.
        By default the tensor itself where ``protect`` is not replaced.
        """
        return tensor if type(self).protect is Defense.protect else None

    def added_noise(self, channel: Channel, size: int) -> float:
        """Return the standard deviation of the Gaussian noise on every number of a channel.

        Of ``noise_target`` it is in units of the target, also where the client keeps the loss and
        returns a gradient with noise on it.

        Args:
            size: how many numbers a record has there.
        """
        return 0.0

    def control_noise(self) -> float | None:
        """Return the standard deviation of the noise that ``control_input`` puts in place of x_t.

        0 where x_t itself stays; None where nothing is stated, the default of a defence that
        replaces ``control_input``.
        """
        return 0.0 if type(self).control_input is Defense.control_input else None

    def keeps_noise(self) -> bool | None:
        """Return whether ``sample_noise`` gives a record equal noise in all its releases.

        None where nothing is stated, the default of a defence that replaces ``sample_noise``.
        """
        return False if type(self).sample_noise is Defense.sample_noise else None

    def mixed_records(self) -> int | None:
        """Return how many records of a batch ``prepare`` makes a weighted mean of; 1 is no mean.

        None where nothing is stated, the default of a defence that replaces ``prepare``.
        """
        return 1 if type(self).prepare is Defense.prepare else None

    def mixed_channels(self, channel: Channel) -> int:
        """Return how many neighbouring channels are multiplied by one secret orthogonal matrix.

        The matrix is the client's for all releases. 0 where there is none.
        """
        return 0

    def shuffled_squares(self, channel: Channel) -> int:
        """Return the side of the squares of a map that change places, in cells; 0 where none do.

        The order is drawn for each record and release, and is one for all channels that state it.
        The side is the largest that divides a map's sides and this number.
        """
        return 0

    def noise_collection(self, channel: Channel) -> int:
        """Return the number of fixed tensors of which one is added to each release; 0 is none."""
        return 0

    def assume_collection(self, channel: Channel, collection: Tensor) -> None:
        """Put an attacker's estimate of the fixed tensors, ``(K, C, h, w)``, into this copy."""

    def prunes_channels(self, channel: Channel) -> bool:
        """Return whether ``protect`` sets some feature channels of each record to zero."""
        return False

    def assume_kept(self, channel: Channel, share: Tensor) -> None:
        """Put an attacker's estimate of the share of records that keep each feature channel here.

        Args:
            share: ``(C,)`` in [0, 1].
        """

    def loss_feedback(self) -> LossFeedback | None:
        """Return what is done to the gradient of a client that keeps the loss; None is nothing."""
        return None

    def update_protection(self) -> UpdateProtection | None:
        """Return what is left of an update; None where nothing is stated."""
        return None


class CompositeDefense(Defense):
    """A defence made of others; the one registered as ``compose`` builds every stack."""

    parts: tuple[Defense, ...]

    def flat(self) -> tuple[Defense, ...]:
        """Return the single defences of all parts, in order."""
        return tuple(single for part in self.parts for single in part.flat())

    @classmethod
    @abstractmethod
    def from_parts(cls, parts: Sequence[Defense]) -> CompositeDefense:
        """Return the stack of ``parts``, in order.

        Raises:
            RequestError: two of them cannot be stacked.
        """


class ServerAdapter(nn.Module):
    """The server's counterpart of a defence, a part of the server half that can be trained."""

    def forward(self, channel: str, tensor: Tensor) -> Tensor:
        """The received tensor as the server's networks should see it."""
        return tensor
