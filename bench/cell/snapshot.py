"""Detect that code changed an object it received, by a digest of every tensor and value.

The judge works on copies that an attack never sees, so a change alters no score. It still voids the
run of the attack, which read what it had changed, and is therefore reported.
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
"""Bytes up to which a tensor on the CPU is hashed; larger ones count by sums of 1,024 pieces."""

_PIECES = 1024
_OURS = frozenset({"bench", "attacks", "defenses", "victims"})


class Snapshot:
    """The state of an object and of everything that can be reached from it.

    The snapshot follows containers, torch modules, and objects of this project and of ``packages``.
    The content of a tensor counts. The fields of a frozen dataclass count too, also through the
    containers in it; other objects may cache things, such as records that they have encoded. A
    defence is left out, since an attacker's copy may keep what it drew.

    Args:
        name: how a sentence names the object.
        root: the object.
        packages: more top-level packages whose objects are followed.
    """

    def __init__(self, name: str, root: object, packages: Collection[str] = ()) -> None:
        self._packages = _OURS | set(packages)
        self._tensors: list[tuple[str, Tensor, str]] = []
        self._holders: list[tuple[str, Any, dict[str, Any]]] = []
        # By id; holding the objects keeps an id from being given to another one.
        self._visited: dict[int, Any] = {}
        self._visit(root, name, strict=False)

    def changed(self) -> list[str]:
        """Return the places whose content has changed since the snapshot, sorted."""
        changes = {place for place, tensor, digest in self._tensors if _digest(tensor) != digest}
        for place, holder, before in self._holders:
            now = _children(holder)
            if now.keys() != before.keys():
                changes.add(place)
            changes |= {
                place + name
                for name, child in before.items()
                if name in now and not _same(now[name], child)
            }
        return sorted(changes)

    def _visit(self, thing: Any, place: str, *, strict: bool) -> None:
        if (
            isinstance(thing, _PLAIN | Defense | torch.Generator | type)
            or id(thing) in self._visited
        ):
            return
        self._visited[id(thing)] = thing
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
    """Return what an object holds, by how it is reached."""
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
    """Return a text that differs where shape, type or content does."""
    plain = tensor.detach()
    kind = f"{tuple(plain.shape)} {plain.dtype}"
    if plain.is_meta or plain.is_sparse:
        return kind
    if plain.device.type == "cpu" and plain.nbytes <= WHOLE:
        content = (
            plain.contiguous().view(-1).view(torch.uint8)
            if plain.numel()
            else torch.empty(0, dtype=torch.uint8)
        )
    else:
        pieces = torch.tensor_split(plain.reshape(-1), _PIECES)
        content = torch.stack([piece.double().sum() for piece in pieces]).cpu().view(torch.uint8)
    return f"{kind} {hashlib.sha256(content.numpy().tobytes()).hexdigest()}"
