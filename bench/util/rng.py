"""Random generators: one for each purpose, seeded with at least 256 bits.

The seed of a generator cannot be found from the generator: its whole state comes from a
cryptographic hash, so no short seed behind it can be tried. This alone hides nothing that follows
from a small public number; the draws of a client therefore follow from
:func:`bench.cell.training.client_seed`.
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
    """Return a CPU generator for one purpose, so that an added draw shifts no other stream.

    ``initial_seed()`` of the result is 0 whatever ``seed`` is.

    Args:
        seed: any integer of at least 0; all of its digits count.
        words: the purpose of the draws.
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
    """Return bytes that differ for different seeds and words."""
    if seed < 0:
        raise ValueError(f"a seed must be at least 0, got {seed}")
    return b"\0".join(
        [str(seed).encode(), *(hashlib.sha256(word.encode()).digest() for word in words)]
    )
