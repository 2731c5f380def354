"""Names the type and shape of a value, for messages."""

from __future__ import annotations

from torch import Tensor


def type_and_shape(thing: object) -> str:
    """Return dtype and shape of a tensor, such as ``float32 (8, 4)``, else the name of the type."""
    if isinstance(thing, Tensor):
        return f"{str(thing.dtype).removeprefix('torch.')} {tuple(thing.shape)}"
    return "None" if thing is None else type(thing).__name__
