"""The gallery of an identification attack: photographs of people, private ones among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.types.images import ImageBatch
from bench.util.rng import generator


@dataclass(frozen=True, eq=False)
class Gallery:
    """One photograph of each candidate; none of them is a record.

    Attributes:
        names: identities in the order of the photographs. They stay hidden from the attacker, since
            they tell private people from people outside the records.
        images: the photographs, ``(G, 3, H, W)``.
    """

    names: tuple[str, ...]
    images: ImageBatch

    def shuffled(self, seed: int) -> Gallery:
        """Return a gallery in another order, so that positions carry no information.

        Args:
            seed: seed of the order, which no attack can find.
        """
        order = torch.randperm(len(self.names), generator=generator(seed, "gallery"))
        return Gallery(tuple(self.names[i] for i in order.tolist()), self.images.take(order))

    def positions(self, identities: Sequence[str | None]) -> list[int] | None:
        """Return the position of each record's person, or None where one of them is not here."""
        place = {name: i for i, name in enumerate(self.names)}
        positions = [place.get(name) if name is not None else None for name in identities]
        known = [i for i in positions if i is not None]
        return known if len(known) == len(positions) else None
