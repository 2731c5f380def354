"""Checks of what the hooks of a defence return while a victim trains and is measured.

Without them, a mistake in a defence would appear as an error inside torch, or as an implausible
score of the attack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bench.interfaces.defense import Defense, Guarantee, ServerAdapter
from bench.types.channels import Channel
from bench.util.errors import BenchError
from bench.util.type_and_shape import type_and_shape

Hook = Callable[..., Any]


class DefenseError(BenchError):
    """A hook of a defence returned an invalid value, or raised an exception."""


def with_hook_checks(defense: Defense) -> Defense:
    """Check every hook that the parts of a defence override; return the same object.

    The hooks of this one object are wrapped, not those of its class. An attacker's copy is not
    checked, and it stays possible to ask which hooks a class overrides.
    """
    for part in defense.flat():
        for name, check in _CHECKS.items():
            if getattr(type(part), name) is not getattr(Defense, name):
                setattr(part, name, _wrapped(part, name, getattr(part, name), check))
    return defense


def _wrapped(part: Defense, name: str, hook: Hook, check: Hook) -> Hook:
    def run(*args: Any, **kwargs: Any) -> Any:
        place = f"defence {part.name!r}: {name}"
        if name in ("protect", "added_noise"):
            place += f" of {args[0] if args else kwargs.get('channel')}"
        watched = [thing for thing in (*args, *kwargs.values()) if isinstance(thing, Tensor)]
        versions = _versions(watched)
        try:
            found = hook(*args, **kwargs)
        except BenchError:
            raise
        except Exception as error:
            said = next(iter(str(error).strip().splitlines()), "no message")
            raise DefenseError(f"{place} raised {type(error).__name__}: {said}") from error
        if _versions(watched) != versions:
            raise DefenseError(f"{place} changed its input in place; it must return another tensor")
        check(part, place, found, *args, **kwargs)
        return found

    return run


def _versions(tensors: list[Tensor]) -> list[int]:
    """Return torch's count of in-place changes for each tensor; inference tensors have no count."""
    return [tensor._version for tensor in tensors if not tensor.is_inference()]


def _like(place: str, found: object, given: Tensor, dtype: torch.dtype | None = None) -> None:
    """Refuse a value that is not a tensor of the shape, type and device of ``given``.

    Where ``given`` is finite, the value must be finite too.

    Args:
        dtype: the type to require in place of that of ``given``.
    """
    expected = type_and_shape(
        given if dtype is None else torch.empty(given.shape, dtype=dtype, device="meta")
    )
    if not isinstance(found, Tensor):
        raise DefenseError(f"{place} must return a tensor, {expected}; got {type_and_shape(found)}")
    if found.shape != given.shape or found.dtype != (dtype or given.dtype):
        raise DefenseError(f"{place} must return {expected}; got {type_and_shape(found)}")
    if found.device != given.device:
        raise DefenseError(
            f"{place} must return a tensor on {given.device}; got one on {found.device}"
        )
    if bool(torch.isfinite(given).all()) and not bool(torch.isfinite(found).all()):
        broken = int((~torch.isfinite(found)).sum())
        raise DefenseError(
            f"{place} must return finite numbers; {broken} of {found.numel()} are not"
        )


def _named(place: str, found: object, given: Mapping[str, Tensor]) -> None:
    """Refuse a value that is not a mapping with the names of ``given`` to tensors like those."""
    if not isinstance(found, Mapping):
        raise DefenseError(
            f"{place} must return a mapping of {', '.join(given)}; got {type_and_shape(found)}"
        )
    if set(found) != set(given):
        raise DefenseError(
            f"{place} must return {', '.join(sorted(given))}; "
            f"got {', '.join(sorted(map(str, found)))}"
        )
    for name, tensor in given.items():
        _like(f"{place}, {name}", found[name], tensor)


def _protect(
    part: Defense, place: str, found: object, channel: Channel, tensor: Tensor, context: object
) -> None:
    _like(place, found, tensor, part.sends_as.get(channel))


def _protect_update(
    part: Defense, place: str, found: object, update: Mapping[str, Tensor], context: object
) -> None:
    _named(place, found, update)


def _control_input(
    part: Defense, place: str, found: object, noisy: Tensor, context: object
) -> None:
    _like(place, found, noisy)


def _prepare(
    part: Defense, place: str, found: object, private: Mapping[str, Tensor], rng: object
) -> None:
    _named(place, found, private)


def _sample_timesteps(
    part: Defense, place: str, found: object, record_ids: Any, schedule: Any, rng: object
) -> None:
    expected = f"int64 ({len(record_ids)},) in 0 to {schedule.steps - 1}"
    if (
        not isinstance(found, Tensor)
        or found.dtype != torch.int64
        or tuple(found.shape) != (len(record_ids),)
    ):
        raise DefenseError(f"{place} must return {expected}; got {type_and_shape(found)}")
    if len(found) and not 0 <= int(found.min()) <= int(found.max()) < schedule.steps:
        raise DefenseError(
            f"{place} must return {expected}; got {int(found.min())} to {int(found.max())}"
        )


def _sample_noise(
    part: Defense, place: str, found: object, record_ids: Any, shape: tuple[int, ...], rng: object
) -> None:
    if (
        not isinstance(found, Tensor)
        or found.dtype != torch.float32
        or tuple(found.shape) != tuple(shape)
    ):
        raise DefenseError(
            f"{place} must return float32 {tuple(shape)}; got {type_and_shape(found)}"
        )
    if not bool(torch.isfinite(found).all()):
        raise DefenseError(f"{place} must return finite numbers")


def _client_loss(part: Defense, place: str, found: object, private: object, sent: object) -> None:
    if found is not None and not (
        isinstance(found, Tensor) and found.numel() == 1 and found.is_floating_point()
    ):
        raise DefenseError(
            f"{place} must return None or one number as a tensor; got {type_and_shape(found)}"
        )


def _local_gradient(part: Defense, place: str, found: object, records: object, rng: object) -> None:
    if not isinstance(found, Mapping) or not all(
        isinstance(tensor, Tensor) for tensor in found.values()
    ):
        raise DefenseError(
            f"{place} must return the gradient of each parameter by name; "
            f"got {type_and_shape(found)}"
        )


def _server_adapter(part: Defense, place: str, found: object, empty_prompt: object) -> None:
    if found is not None and not isinstance(found, ServerAdapter):
        raise DefenseError(
            f"{place} must return None or a ServerAdapter; got {type_and_shape(found)}"
        )


def _guarantee(part: Defense, place: str, found: object, releases: int, schedule: object) -> None:
    if found is not None and not isinstance(found, Guarantee):
        raise DefenseError(f"{place} must return None or a Guarantee; got {type_and_shape(found)}")


def _wire(part: Defense, place: str, found: object, channels: object) -> None:
    if not isinstance(found, frozenset):
        raise DefenseError(
            f"{place} must return a frozenset of channels; got {type_and_shape(found)}"
        )


_CHECKS: Mapping[str, Hook] = {
    "protect": _protect,
    "protect_update": _protect_update,
    "control_input": _control_input,
    "prepare": _prepare,
    "sample_timesteps": _sample_timesteps,
    "sample_noise": _sample_noise,
    "client_loss": _client_loss,
    "local_gradient": _local_gradient,
    "server_adapter": _server_adapter,
    "guarantee": _guarantee,
    "wire": _wire,
}
"""The check of each hook: of the defence, the hook in words, its result and its arguments."""
