"""Detects that code changed what it was handed: a digest of every tensor and value, before and after.

The judge works on copies that an attack never sees, so a change bends no number. It still voids the run of the attack
itself, which read what it had changed, and is therefore named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.defense import Defense

WHOLE = 2**24
"""Bytes up to which a tensor on the CPU is hashed; of a larger one sums of 1,024 pieces are."""

_PIECES = 1024
_OURS = frozenset({"bench", "attacks", "defenses", "victims"})


class Snapshot:
    """The state of an object and of all that can be reached from it.

    Followed are containers, modules of torch, and objects of this project and of ``packages``. Values other than
    tensors count where they stand in frozen dataclasses. A defence is left out: an attacker's own copy may remember
    what it protected.

    Args:
        name: how the object is called in a sentence.
        packages: top-level packages whose objects are followed too.
    """

    def __init__(self, name: str, thing: object, packages: Collection[str] = ()) -> None:
        self._name, self._thing = name, thing
        self._packages = _OURS | set(packages)
        self._before = self._read()

    def changed(self) -> list[str]:
        """Return the places that differ from what they were, or are not there any more, sorted."""
        now = self._read()
        return sorted(place for place, digest in self._before.items() if now.get(place) != digest)

    def _read(self) -> dict[str, str]:
        seen: set[int] = set()
        return dict(self._walk(self._thing, self._name, False, seen))

    def _walk(self, thing: Any, place: str, strict: bool, seen: set[int]) -> Iterator[tuple[str, str]]:
        if isinstance(thing, Tensor | np.ndarray):
            yield place, _digest(torch.as_tensor(thing))
            return
        if thing is None or isinstance(thing, str | int | float | bytes):
            if strict:
                yield place, repr(thing)
            return
        if isinstance(thing, Defense | torch.Generator | type) or id(thing) in seen:
            return
        seen.add(id(thing))
        if isinstance(thing, Mapping):
            if strict:
                yield f"{place} (names)", repr(sorted(map(str, thing)))
            for key, value in thing.items():
                yield from self._walk(value, f"{place}[{key!r}]", strict, seen)
        elif isinstance(thing, list | tuple):
            if strict and all(isinstance(value, str | int | float | None) for value in thing):
                yield place, hashlib.sha256(repr(thing).encode()).hexdigest()
                return
            for i, value in enumerate(thing):
                yield from self._walk(value, f"{place}[{i}]", strict, seen)
        elif isinstance(thing, nn.Module):
            for name, tensor in (*thing.named_parameters(), *thing.named_buffers()):
                yield f"{place}.{name}", _digest(tensor)
            if self._followed(thing):
                own = {
                    k: v for k, v in vars(thing).items() if not k.startswith(("_parameters", "_buffers", "_modules"))
                }
                yield from self._walk_attributes(own, place, False, seen)
        elif self._followed(thing):
            frozen = bool(getattr(getattr(type(thing), "__dataclass_params__", None), "frozen", False))
            yield from self._walk_attributes(_attributes(thing), place, frozen, seen)

    def _walk_attributes(
        self, attributes: Mapping[str, Any], place: str, strict: bool, seen: set[int]
    ) -> Iterator[tuple[str, str]]:
        for name, value in attributes.items():
            yield from self._walk(value, f"{place}.{name}", strict, seen)

    def _followed(self, thing: object) -> bool:
        return type(thing).__module__.partition(".")[0] in self._packages


def _attributes(thing: object) -> dict[str, Any]:
    found = dict(getattr(thing, "__dict__", {}))
    for name in getattr(type(thing), "__slots__", ()):
        if hasattr(thing, name):
            found[name] = getattr(thing, name)
    return found


def _digest(tensor: Tensor) -> str:
    """Text that differs where shape, type or content does."""
    shown = tensor.detach()
    kind = f"{tuple(shown.shape)} {shown.dtype}"
    if shown.is_meta or shown.is_sparse:
        return kind
    if shown.device.type == "cpu" and shown.nbytes <= WHOLE:
        content = shown.contiguous().view(-1).view(torch.uint8) if shown.numel() else torch.empty(0, dtype=torch.uint8)
    else:
        pieces = torch.tensor_split(shown.reshape(-1), _PIECES)
        content = torch.stack([piece.double().sum() for piece in pieces]).cpu().view(torch.uint8)
    return f"{kind} {hashlib.sha256(content.numpy().tobytes()).hexdigest()}"
