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
        delta: likewise.
        unit: what two neighbouring inputs differ in.
        sensitivity: the bound on that difference, with its norm.
        releases: how many releases of one unit are composed.
        voided_by: channels that, when they cross the wire too, void the statement.
        mu: of the Gaussian mechanism behind it, all releases together, where it is one
            (arXiv:1905.02383).
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
        """t of each record of a batch, ``(B,)`` int64 in [0, T). Undefended: uniform."""
        return torch.randint(0, schedule.steps, (len(record_ids),), generator=rng)

    def sample_noise(
        self, record_ids: Sequence[str], shape: tuple[int, ...], rng: torch.Generator
    ) -> Tensor:
        """eps of a batch, float32. Undefended: standard normal, fresh for every release."""
        return torch.randn(shape, generator=rng)

    def first_timestep(self, schedule: NoiseSchedule) -> int:
        """The smallest t that ``sample_timesteps`` may draw."""
        return 0

    def control_from(self, schedule: NoiseSchedule, first: int) -> int:
        """The smallest t at which the control network takes part in sampling; below, the frozen
        UNet works alone.

        Args:
            first: the smallest t that the network was trained at.
        """
        return 0

    def control_input(self, noisy: Tensor, context: ProtectContext) -> Tensor:
        """What the client's stem adds the condition to, ``(B, 4, h, w)``, in training and in
        sampling.

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
        """Give a fresh defence of the same parts what :meth:`trained_state` of another one returned."""
        for name, part in self.trained_parts().items():
            own = {
                key.removeprefix(f"{name}/"): t
                for key, t in tensors.items()
                if key.startswith(f"{name}/")
            }
            if own:
                part.restore(own)

    def surrogate(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        """What an attacker who knows the defence puts in place of ``protect`` when it searches for
        inputs.

        Where ``protect`` rounds, a useful slope; where it draws, what to expect, if that is better
        than draws of one's own. ``context.record_ids`` mean nothing here. By default ``protect``
        itself.
        """
        return self.protect(channel, tensor, context)

    def local_gradient(
        self, records: Iterable[Mapping[str, Tensor]], rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """The gradient of one local step, by parameter, from those of its records, which come one
        at a time.

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
        """A whole update as it leaves the client, by the names of its tensors: each through ``protect``."""
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

    def added_noise(self, channel: Channel, size: int) -> float:
        """Standard deviation of the Gaussian noise that ``protect`` adds to every number of a
        channel.

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
    def from_parts(cls, parts: Sequence[Defense]) -> CompositeDefense:
        """The stack of ``parts``, in order.

        Raises:
            RequestError: two of them cannot be stacked.
        """


class ServerAdapter(nn.Module):
    """The server's counterpart of a defence; part of the server half, so trainable from the wire."""

    def forward(self, channel: str, tensor: Tensor) -> Tensor:
        """The received tensor as the server's networks should see it."""
        return tensor
