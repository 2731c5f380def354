"""Keeps controls and their scores, which no attack changes, for later cells on the same records."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from bench.types.estimate import Estimate

MOST_BYTES = 256 * 2**20
"""Bytes of control pictures kept; the controls of a record of 512 x 512 pixels take 15 MB."""


@dataclass(frozen=True, eq=False)
class CachedControls:
    """The controls of one target, with the scores that have been computed for them.

    Attributes:
        controls: estimates by control name (``bench.scoring.controls.images``).
        means: mean score by metric and control name; ``score_target`` adds to it.
    """

    controls: Mapping[str, Estimate]
    means: dict[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Return the bytes that the tensors take."""
        return sum(t.nbytes for estimate in self.controls.values() for t in _tensors(estimate))


class ControlCache:
    """Keeps the controls of the last few cells and drops the oldest above ``most_bytes`` bytes."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, CachedControls] = OrderedDict()

    def get_or_make(
        self,
        key_parts: Sequence[str],
        tensors: Sequence[Tensor],
        make: Callable[[], Mapping[str, Estimate]],
    ) -> CachedControls:
        """Return the controls of a truth from the cache, or call ``make`` and keep its result.

        Args:
            key_parts: what the controls and their scores depend on besides tensors: model, splits,
                seed, backbones.
            tensors: the true pictures and latents, and the gallery.
            make: computes the controls by name.
        """
        key = hashlib.sha256("\n".join(key_parts).encode())
        for tensor in tensors:
            key.update(str(tuple(tensor.shape)).encode())
            key.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        name = key.hexdigest()
        cached = self._kept.pop(name, None) or CachedControls(make())
        self._kept[name] = cached
        while len(self._kept) > 1 and sum(r.size for r in self._kept.values()) > self._most_bytes:
            self._kept.popitem(last=False)
        return cached


def _tensors(estimate: Estimate) -> list[Tensor]:
    return [estimate.images.pixels, *([] if estimate.latents is None else [estimate.latents])]
