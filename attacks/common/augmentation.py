"""Enlarges and groups the few records that an attacker has."""

from __future__ import annotations

from dataclasses import replace

import torch

from bench.interfaces import Records
from bench.types.identities import group_numbers


def with_mirrored(records: Records) -> Records:
    """Return the records, followed by each of them with left and right exchanged.

    Identities, attributes and prompts stay.
    """
    return replace(
        records,
        ids=(*records.ids, *(f"{name}, mirrored" for name in records.ids)),
        images=torch.cat([records.images, records.images.flip(-1)]),
        conditions=torch.cat([records.conditions, records.conditions.flip(-1)]),
        prompts=records.prompts * 2,
        identities=records.identities * 2,
        attributes=records.attributes * 2,
        origins=(),
        groups=None,
        duplicate=(),
    )


def by_identity(records: Records, copies: int = 1) -> list[list[int]]:
    """Return the positions of the records that show one identity, in order of appearance.

    Copies that follow all records are included. A record without identity is a group by itself.

    A record without identity is its own.
    """
    numbers = group_numbers(records.identities)
    groups: list[list[int]] = [[] for _ in range(max(numbers, default=-1) + 1)]
    for i, number in enumerate(numbers):
        groups[number] += [i + copy * len(records) for copy in range(copies)]
    return groups
