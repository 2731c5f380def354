"""Stack several defences, as in ``timestep+activation+prompt``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.interfaces import (
    Card,
    Channel,
    CompositeDefense,
    Defense,
    Guarantee,
    InsertedLayers,
    NoiseSchedule,
    Params,
    ProtectContext,
    RequestError,
    ServerAdapter,
)

_EXCLUSIVE = ("sample_timesteps", "sample_noise", "local_gradient", "insertion")


class AdapterChain(ServerAdapter):
    """Applies several adapters in reverse order: the server undoes the last defence first."""

    def __init__(self, adapters: Sequence[ServerAdapter]) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(adapters)

    def forward(self, channel: str, tensor: Tensor) -> Tensor:
        for adapter in reversed(self.adapters):
            tensor = adapter(channel, tensor)
        return tensor


class Compose(CompositeDefense):
    """Applies its parts in the given order.

    Two parts that both draw timesteps, or both draw noise, cannot be stacked.
    """

    name = "compose"
    card = Card(
        summary="Stacks several defences, written name+name; has no effect without parts.",
        source="this project",
    )

    def __init__(self, params: Params | None = None, parts: Sequence[Defense] = ()) -> None:
        super().__init__(params)
        self.parts = tuple(parts)
        self.withheld = frozenset().union(*(p.withheld for p in self.parts))
        self.record_gradients = any(p.record_gradients for p in self.parts)
        self.sends_latent = any(p.sends_latent for p in self.parts)
        self._drawing = {hook: self._owner(hook) for hook in _EXCLUSIVE}

    @classmethod
    def from_parts(cls, parts: Sequence[Defense]) -> Compose:
        return cls(parts=parts)

    def _owner(self, hook: str) -> Defense | None:
        owners = [p for p in self.parts if getattr(type(p), hook) is not getattr(Defense, hook)]
        if len(owners) > 1:
            names = " and ".join(repr(p.name) for p in owners)
            raise RequestError(f"defences {names} both replace {hook}; they cannot be stacked")
        return owners[0] if owners else None

    def check(self, schedule: NoiseSchedule, channels: frozenset[Channel]) -> None:
        for part in self.parts:
            part.check(schedule, channels)

    def wire(self, channels: frozenset[Channel]) -> frozenset[Channel]:
        for part in self.parts:
            channels = part.wire(channels)
        return channels

    def prepare(self, private: Mapping[str, Tensor], rng: torch.Generator) -> Mapping[str, Tensor]:
        for part in self.parts:
            private = part.prepare(private, rng)
        return private

    def first_timestep(self, schedule: NoiseSchedule) -> int:
        return max(part.first_timestep(schedule) for part in self.parts) if self.parts else 0

    def control_from(self, schedule: NoiseSchedule, first: int) -> int:
        return max(part.control_from(schedule, first) for part in self.parts) if self.parts else 0

    def control_input(self, noisy: Tensor, context: ProtectContext) -> Tensor:
        for part in self.parts:
            noisy = part.control_input(noisy, context)
        return noisy

    def sample_timesteps(
        self, record_ids: Sequence[str], schedule: NoiseSchedule, rng: torch.Generator
    ) -> Tensor:
        owner = self._drawing["sample_timesteps"]
        if owner is None:
            return super().sample_timesteps(record_ids, schedule, rng)
        return owner.sample_timesteps(record_ids, schedule, rng)

    def sample_noise(
        self, record_ids: Sequence[str], shape: tuple[int, ...], rng: torch.Generator
    ) -> Tensor:
        owner = self._drawing["sample_noise"]
        if owner is None:
            return super().sample_noise(record_ids, shape, rng)
        return owner.sample_noise(record_ids, shape, rng)

    def protect(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        for part in self.parts:
            tensor = part.protect(channel, tensor, context)
        return tensor

    def surrogate(self, channel: Channel, tensor: Tensor, context: ProtectContext) -> Tensor:
        for part in self.parts:
            tensor = part.surrogate(channel, tensor, context)
        return tensor

    def local_gradient(
        self, records: Iterable[Mapping[str, Tensor]], rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        owner = self._drawing["local_gradient"]
        if owner is None:
            return super().local_gradient(records, rng)
        return owner.local_gradient(records, rng)

    def protect_update(
        self, update: Mapping[str, Tensor], context: ProtectContext
    ) -> dict[str, Tensor]:
        for part in self.parts:
            update = part.protect_update(update, context)
        return dict(update)

    def client_loss(
        self, private: Mapping[str, Tensor], sent: Mapping[Channel, Tensor]
    ) -> Tensor | None:
        losses = [
            loss for part in self.parts if (loss := part.client_loss(private, sent)) is not None
        ]
        return torch.stack(losses).sum() if losses else None

    def server_adapter(self, empty_prompt: Tensor) -> ServerAdapter | None:
        adapters = [
            a for part in self.parts if (a := part.server_adapter(empty_prompt)) is not None
        ]
        return AdapterChain(adapters) if adapters else None

    def insertion(self) -> InsertedLayers | None:
        owner = self._drawing["insertion"]
        return owner.insertion() if owner else None

    def guarantee(self, releases: int, schedule: NoiseSchedule) -> Guarantee | None:
        """Return the statement of the first part that makes one, qualified by all parts.

        Post-processing by later parts cannot weaken the statement. Return None where a part mixes
        records: a record is then behind more releases than are counted.
        """
        if any(type(single).prepare is not Defense.prepare for single in self.flat()):
            return None
        statements = (
            statement
            for part in self.parts
            if (statement := part.guarantee(releases, schedule)) is not None
        )
        return next((self.qualify(statement, schedule) for statement in statements), None)

    def qualify(self, statement: Guarantee, schedule: NoiseSchedule) -> Guarantee:
        for part in self.parts:
            statement = part.qualify(statement, schedule)
        return statement

    def added_noise(self, channel: Channel, size: int) -> float:
        return math.hypot(*(part.added_noise(channel, size) for part in self.parts))
