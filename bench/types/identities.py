"""Groups of records that show one person or thing."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

import torch

K = TypeVar("K", bound=Hashable)


def group_numbers(identities: Sequence[str | None]) -> list[int]:
    """Return one number per record, equal for records of one identity.

    The numbers count from 0 in order of appearance. A record without an identity is a group by
    itself.
    """
    places: dict[Hashable, int] = {}
    keys: list[Hashable] = [i if name is None else name for i, name in enumerate(identities)]
    return [places.setdefault(key, len(places)) for key in keys]


def positions_by_group(groups: Sequence[K], order: Iterable[int]) -> dict[K, list[int]]:
    """Return the positions of each group's members, both as they appear in ``order``.

    Args:
        groups: the group of each position.
        order: positions, such as ``range(len(groups))``.
    """
    members: dict[K, list[int]] = {}
    for i in order:
        members.setdefault(groups[i], []).append(i)
    return members


def other_identities(identities: Sequence[str | None], rng: torch.Generator) -> list[int]:
    """Return a permutation that gives each record a record of another identity.

    The records are put in random order with those of one identity together, and each is given the
    record that follows as many places later as the largest identity has records. Where one identity
    has more than half of all records, no permutation separates them all, and some of its records
    are given another record of this identity.

    Returns:
        The position given to each record.
    """
    numbers = group_numbers(identities)
    shuffled = torch.randperm(len(numbers), generator=rng).tolist()
    groups = positions_by_group(numbers, shuffled)
    order = [i for group in groups.values() for i in group]
    step = max(map(len, groups.values()), default=0)
    if order and step == len(order):
        step = 1  # all are one identity: at least not the record itself
    following = dict(zip(order, [*order[step:], *order[:step]], strict=True))
    return [following[i] for i in range(len(order))]
