"""Random generators: one for each purpose, each from 256 bits or more of what it is for.

Whoever is handed a generator cannot find the number that it was made from: the whole state comes
from a cryptographic hash, so there is no short seed behind it that could be tried. That alone keeps
nothing secret which follows from a small public number, so what a client draws follows from
:func:`bench.cell.training.client_seed` instead.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

_STATE_WORDS = 624  # of MT19937, 32 bits each
_HEADER = np.dtype(
    [
        ("seed", "<u8"),
        ("left", "<i4"),
        ("seeded", "<i4"),
        ("next", "<u8"),
        ("words", "<u8", _STATE_WORDS),
    ]
)


def generator(seed: int, *words: str) -> torch.Generator:
    """Return a CPU generator for one purpose, so that adding one draw shifts no other stream.

    ``initial_seed()`` of the result is 0 whatever ``seed`` is.

    Args:
        seed: any integer of at least 0; the whole of it counts, however long it is.
        words: what the draws are for.
    """
    rng = torch.Generator()
    state = rng.get_state()
    # Seeding torch with an integer would keep 32 bits of it; here the whole state is derived.
    content = np.frombuffer(
        hashlib.shake_256(_encoded(seed, words)).digest(4 * _STATE_WORDS), dtype="<u4"
    )
    header = state.numpy()[: _HEADER.itemsize].view(_HEADER)
    header["seed"], header["left"], header["seeded"], header["next"] = 0, 1, 1, 0
    header["words"] = content
    rng.set_state(state)
    return rng


def derived_seed(seed: int, *words: str) -> int:
    """Return a 256-bit integer for one purpose, from which ``seed`` cannot be found."""
    return int.from_bytes(hashlib.sha256(b"derived seed" + _encoded(seed, words)).digest(), "big")


def _encoded(seed: int, words: tuple[str, ...]) -> bytes:
    """An injective text of a seed and words."""
    if seed < 0:
        raise ValueError(f"a seed must be at least 0, got {seed}")
    return b"\0".join(
        [str(seed).encode(), *(hashlib.sha256(word.encode()).digest() for word in words)]
    )
