"""Who an attacker looks for: public photographs of people, the private ones among them."""

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
        names: identities, in the order of the pictures. Not for the attacker: they tell private
            people from strangers.
    """

    names: tuple[str, ...]
    images: ImageBatch

    def shuffled(self, seed: int) -> Gallery:
        """In another order, so that a place tells nothing; of a ``seed`` that no attack can find."""
        order = torch.randperm(len(self.names), generator=generator(seed, "gallery"))
        return Gallery(tuple(self.names[i] for i in order.tolist()), self.images.take(order))

    def positions(self, identities: Sequence[str | None]) -> list[int] | None:
        """The candidate that each record shows, or None where one of them is nobody here."""
        place = {name: i for i, name in enumerate(self.names)}
        found = [place.get(name) if name is not None else None for name in identities]
        known = [i for i in found if i is not None]
        return known if len(known) == len(found) else None
