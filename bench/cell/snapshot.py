"""Detects that code changed what it was handed: a digest of every tensor and value, before and
after.

The judge works on copies that an attack never sees, so a change bends no number. It still voids the
run of the attack itself, which read what it had changed, and is therefore named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.interfaces.defense import Defense

WHOLE = 2**24
"""Bytes up to which a tensor on the CPU is hashed; of a larger one sums of 1,024 pieces are."""

_PIECES = 1024
_OURS = frozenset({"bench", "attacks", "defenses", "victims"})


class Snapshot:
    """The state of an object and of all that can be reached from it.

    Followed are containers, modules of torch, and objects of this project and of ``packages``. Of
    tensors the content counts. What a frozen dataclass holds counts too, through the containers in
    it; other objects may remember things, such as records that they have encoded. A defence is left
    out: an attacker's own copy may keep what it drew.

    Args:
        name: how the object is called in a sentence.
        packages: top-level packages whose objects are followed too.
    """

    def __init__(self, name: str, thing: object, packages: Collection[str] = ()) -> None:
        self._packages = _OURS | set(packages)
        self._tensors: list[tuple[str, Tensor, str]] = []
        self._holders: list[tuple[str, Any, dict[str, Any]]] = []
        self._seen: dict[
            int, Any
        ] = {}  # keeps what it has seen alive, so that no other object takes its place
        self._visit(thing, name, strict=False)

    def changed(self) -> list[str]:
        """Return the places that differ from what they were, sorted."""
        found = {place for place, tensor, digest in self._tensors if _digest(tensor) != digest}
        for place, holder, before in self._holders:
            now = _children(holder)
            if now.keys() != before.keys():
                found.add(place)
            found |= {
                place + name
                for name, child in before.items()
                if name in now and not _same(now[name], child)
            }
        return sorted(found)

    def _visit(self, thing: Any, place: str, *, strict: bool) -> None:
        if isinstance(thing, _PLAIN | Defense | torch.Generator | type) or id(thing) in self._seen:
            return
        self._seen[id(thing)] = thing
        if isinstance(thing, Tensor | np.ndarray):
            tensor = torch.as_tensor(thing)
            self._tensors.append((place, tensor, _digest(tensor)))
            return
        if isinstance(thing, nn.Module):
            for name, tensor in (*thing.named_parameters(), *thing.named_buffers()):
                self._visit(tensor, f"{place}.{name}", strict=False)
        container = isinstance(thing, Mapping | list | tuple)
        if not (container or type(thing).__module__.partition(".")[0] in self._packages):
            return
        if not container:
            strict = bool(
                getattr(getattr(type(thing), "__dataclass_params__", None), "frozen", False)
            )
        children = _children(thing)
        if strict:
            self._holders.append((place, thing, children))
        for name, child in children.items():
            self._visit(child, place + name, strict=strict)


_PLAIN = str | int | float | bytes | None


def _children(thing: Any) -> dict[str, Any]:
    """What an object holds, by how it is reached."""
    if isinstance(thing, Mapping):
        return {f"[{key!r}]": value for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return {f"[{i}]": value for i, value in enumerate(thing)}
    names = [*getattr(thing, "__dict__", {}), *getattr(type(thing), "__slots__", ())]
    return {f".{name}": getattr(thing, name) for name in names if hasattr(thing, name)}


def _same(now: object, before: object) -> bool:
    if now is before:
        return True
    return isinstance(now, _PLAIN) and type(now) is type(before) and now == before


def _digest(tensor: Tensor) -> str:
    """Text that differs where shape, type or content does."""
    shown = tensor.detach()
    kind = f"{tuple(shown.shape)} {shown.dtype}"
    if shown.is_meta or shown.is_sparse:
        return kind
    if shown.device.type == "cpu" and shown.nbytes <= WHOLE:
        content = (
            shown.contiguous().view(-1).view(torch.uint8)
            if shown.numel()
            else torch.empty(0, dtype=torch.uint8)
        )
    else:
        pieces = torch.tensor_split(shown.reshape(-1), _PIECES)
        content = torch.stack([piece.double().sum() for piece in pieces]).cpu().view(torch.uint8)
    return f"{kind} {hashlib.sha256(content.numpy().tobytes()).hexdigest()}"
