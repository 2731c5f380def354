"""Controls and their scores, made once for all attacks on the same records: they depend on no attack."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from bench.types.estimate import Estimate

ROOM = (
    256 * 2**20
)  # bytes of control pictures kept; a record of 512 x 512 pixels takes 15 MB with its controls


@dataclass(frozen=True, eq=False)
class CachedControls:
    """What a claim about one target is held against.

    Attributes:
        controls: estimates by control name (``bench.scoring.controls.images``).
        means: mean score by metric and control, as far as anyone has asked.
    """

    controls: Mapping[str, Estimate]
    means: dict[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(t.nbytes for estimate in self.controls.values() for t in _tensors(estimate))


class ControlCache:
    """The references of the last few cells; older ones go when they take more than ``room`` bytes."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._kept: OrderedDict[str, CachedControls] = OrderedDict()

    def of(
        self,
        words: Sequence[str],
        compared: Sequence[Tensor],
        make: Callable[[], Mapping[str, Estimate]],
    ) -> CachedControls:
        """The reference of this truth, of before or made now.

        Args:
            words: what the controls and their scores depend on besides tensors: model, splits,
                seed, extractors.
            compared: the true pictures and latents, and the gallery.
        """
        key = hashlib.sha256("\n".join(words).encode())
        for tensor in compared:
            key.update(str(tuple(tensor.shape)).encode())
            key.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        name = key.hexdigest()
        found = self._kept.pop(name, None) or CachedControls(make())
        self._kept[name] = found
        while len(self._kept) > 1 and sum(r.size for r in self._kept.values()) > self._room:
            self._kept.popitem(last=False)
        return found


def _tensors(estimate: Estimate) -> list[Tensor]:
    return [estimate.images.pixels, *([] if estimate.latents is None else [estimate.latents])]
