"""Groups of records that show one person or thing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch


def group_numbers(identities: Sequence[str | None]) -> list[int]:
    """Return one number per record, equal for records of one identity.

    The numbers count from 0 in order of appearance. A record without an identity is a group by
    itself.
    """
    places: dict[Hashable, int] = {}
    keys: list[Hashable] = [i if name is None else name for i, name in enumerate(identities)]
    return [places.setdefault(key, len(places)) for key in keys]


def other_identities(identities: Sequence[str | None], rng: torch.Generator) -> list[int]:
    """Return a permutation that gives each record a record of another identity.

    The records are put in random order with those of one identity together, and each is given the
    record that follows as many places later as the largest identity has records. Where one identity
    has more than half of all records, no permutation separates them all, and some of its records
    are given another record of this identity.

    Returns:
        The position given to each record.
    """
    groups: dict[int, list[int]] = {}
    numbers = group_numbers(identities)
    for i in torch.randperm(len(numbers), generator=rng).tolist():
        groups.setdefault(numbers[i], []).append(i)
    order = [i for group in groups.values() for i in group]
    step = max(map(len, groups.values()), default=0)
    if order and step == len(order):
        step = 1  # all are one identity: at least not the record itself
    following = dict(zip(order, [*order[step:], *order[:step]], strict=True))
    return [following[i] for i in range(len(order))]
