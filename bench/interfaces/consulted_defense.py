"""Records which hooks of a known defence an attack uses, to see whether it adapts to it.

An attack adapts to a single defence if it ran the hooks by which the defence changes what the
attack read (``protect`` of that channel, ``prepare``, ``control_input`` and others), alone or in a
simulated client, or asked a hook that states what these do and got an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.interfaces.defense import Defense, ProtectContext
from bench.types.channels import (
    CLIENT_UPDATE,
    CONTROL_FEATURES,
    LOSS_GRADIENT,
    NOISE_TARGET,
    TIMESTEP,
    UNET_FEATURES,
    Channel,
)

PREFIX = "not-adaptive"
"""Start of a row's flag ``PREFIX:NAME``: the attack did not adapt to the single defence NAME."""

_RUNS = ("protect", "surrogate")
_STATED_SIZES = (
    "added_noise",
    "mixed_channels",
    "shuffled_squares",
    "noise_collection",
    "prunes_channels",
)
"""Hooks whose default, 0 or False, states nothing."""
_PER_CHANNEL = ("invert", *_STATED_SIZES)
STATEMENTS = (
    *_PER_CHANNEL,
    "surrogate",
    "control_noise",
    "keeps_noise",
    "mixed_records",
    "first_timestep",
    "loss_feedback",
    "update_protection",
)
"""Hooks by which a defence states what it does, for attacks."""
_BY_HOOK: Mapping[str, tuple[str, ...]] = {
    "prepare": ("prepare", "mixed_records"),
    "control_input": ("control_input", "control_noise"),
    "sample_timesteps": ("sample_timesteps", "first_timestep"),
    "sample_noise": ("sample_noise", "keeps_noise"),
    "local_gradient": ("local_gradient", "update_protection"),
}
"""Hooks that change a release otherwise than ``protect``, each with those that state what it does.

``insertion`` is not among them: ``Public.trainer`` is made with the inserted layers."""
_RECORDED = (
    *_RUNS,
    *_PER_CHANNEL,
    "protect_update",
    "loss_feedback",
    *dict.fromkeys(name for names in _BY_HOOK.values() for name in names),
)

_DRAWN = {CONTROL_FEATURES, UNET_FEATURES}
"""Channels that depend on the timestep and the noise of a release."""

_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def unrecorded() -> Iterator[None]:
    """Leave calls of hooks out of the record, for trials whose outcome an attack may not use."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


@dataclass(eq=False)
class Consultation:
    """The hooks of one single defence that were used and gave an answer.

    Attributes:
        hooks: names of hooks.
        answered: hooks with the channel that they were asked about.
    """

    hooks: set[str] = field(default_factory=set)
    answered: set[tuple[str, Channel]] = field(default_factory=set)

    def __deepcopy__(self, memo: object) -> Consultation:
        """Return the record itself, so that a copy of the defence writes into the same one."""
        return self

    def note(self, hook: str, channel: Channel | None, answer: object) -> None:
        """Record a call of ``hook``, unless it gave no answer or calls are left out."""
        empty = answer is None or (hook in _STATED_SIZES and not answer)
        if _silent.get() or empty:
            return
        self.hooks.add(hook)
        if channel is not None:
            self.answered.add((hook, channel))

    def covers(self, channel: Channel) -> bool:
        """Whether ``protect`` of ``channel`` was run, or a hook stated what it does."""
        if channel == CLIENT_UPDATE and self.hooks & {"protect_update", "update_protection"}:
            return True
        if channel in (NOISE_TARGET, LOSS_GRADIENT) and (
            "loss_feedback" in self.hooks or ("added_noise", NOISE_TARGET) in self.answered
        ):
            return True
        return any((hook, channel) in self.answered for hook in (*_RUNS, *_PER_CHANNEL))


class RecordedDefense:
    """A known defence whose hooks are recorded from now on, by the objects that it consists of.

    Each single defence gets a subclass of its class, so that deep copies write into the same
    record and run on their own state.
    """

    def __init__(self, defense: Defense) -> None:
        self._parts: list[tuple[Defense, type[Defense], Consultation]] = []
        for part in defense.flat():
            consultation = Consultation()
            self._parts.append((part, type(part), consultation))
            part.__class__ = _recording(type(part), consultation)

    def not_adapted_to(
        self,
        read: Mapping[Channel, Tensor | None],
        sent: Collection[Channel],
        context: ProtectContext,
    ) -> list[str]:
        """Return the names of single defences that changed what was read and were not consulted.

        Args:
            read: for each channel that the attack read, some rows of it; None for a channel of
                named tensors.
            sent: channels that the victim sends without a defence.
            context: for running ``protect`` on those rows, to see whether it changes them.
        """
        return [
            part.name
            for part, cls, consultation in self._parts
            if not _adapted(part, cls, consultation, read, sent, context)
        ]


def _recording(cls: type[Defense], consultation: Consultation) -> type[Defense]:
    """Return a subclass whose hooks write into ``consultation``."""

    def recorded(name: str) -> Callable[..., Any]:
        original = getattr(cls, name)

        def hook(self: Defense, *args: Any, **kwargs: Any) -> Any:
            answer = original(self, *args, **kwargs)
            named = args[0] if args else kwargs.get("channel")
            channel = Channel(named) if isinstance(named, str) else None
            consultation.note(name, channel, answer)
            return answer

        return hook

    hooks = {name: recorded(name) for name in _RECORDED if _replaced(cls, name) or name == "invert"}
    return type(
        cls.__name__, (cls,), {**hooks, "__module__": cls.__module__, "__doc__": cls.__doc__}
    )


def _replaced(cls: type[Defense], name: str) -> bool:
    return getattr(cls, name) is not getattr(Defense, name)


def _adapted(
    part: Defense,
    cls: type[Defense],
    consultation: Consultation,
    read: Mapping[Channel, Tensor | None],
    sent: Collection[Channel],
    context: ProtectContext,
) -> bool:
    for hook, telling in _BY_HOOK.items():
        if (
            _replaced(cls, hook)
            and _concerns(hook, read, sent)
            and not consultation.hooks & set(telling)
        ):
            return False
    return all(
        consultation.covers(channel) or not _changes(part, cls, channel, rows, context)
        for channel, rows in read.items()
    )


def _concerns(hook: str, read: Collection[Channel], sent: Collection[Channel]) -> bool:
    """Whether the hook changes something that an attack which read these channels has to know.

    A timestep or a noise target that was read shows what was drawn; a client that sends no timestep
    draws nothing.
    """
    if hook == "sample_timesteps":
        return TIMESTEP in sent and TIMESTEP not in read and bool(_DRAWN & set(read))
    if hook == "sample_noise":
        shown = bool({NOISE_TARGET, LOSS_GRADIENT} & set(read))
        return TIMESTEP in sent and not shown and bool(_DRAWN & set(read))
    if hook == "control_input":
        return CONTROL_FEATURES in read
    if hook == "local_gradient":
        return CLIENT_UPDATE in read
    return True


def _changes(
    part: Defense,
    cls: type[Defense],
    channel: Channel,
    rows: Tensor | None,
    context: ProtectContext,
) -> bool:
    """Whether the channel leaves ``protect`` changed; True where it raises.

    Of an update, whose rows are not given, a made-up tensor is tried.
    """
    if rows is None:
        if channel != CLIENT_UPDATE:
            return False
        if _replaced(cls, "protect_update"):
            return True
        rows = torch.linspace(-1.0, 1.0, 60).view(4, 15)
    if not _replaced(cls, "protect"):
        return False
    with unrecorded(), torch.no_grad():
        try:
            return not torch.equal(part.protect(channel, rows.clone(), context), rows)
        except Exception:
            return True
