"""Divides records into parts that share no record, no identity and no picture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.data.split_sizes import SplitSizes
from bench.types.identities import positions_by_group
from bench.types.records import Records
from bench.util.errors import DataError
from bench.util.rng import generator

PARTS = ("victim", "auxiliary", "calibration", "evaluation")
MOST_SPARE = 4
"""Limit for the loaded records, as a multiple of the records in all parts."""


@dataclass(frozen=True, eq=False)
class Splits:
    """The four parts of a data set, disjoint by record, by identity and by group."""

    victim: Records
    auxiliary: Records
    calibration: Records
    evaluation: Records

    def manifest(self) -> dict[str, list[str]]:
        """Return record ids by part."""
        return {part: list(getattr(self, part).ids) for part in PARTS}

    def manifest_hash(self) -> str:
        """Return the sha256 of the manifest, which stands in the row."""
        return hashlib.sha256(json.dumps(self.manifest(), sort_keys=True).encode()).hexdigest()

    def duplicate_records(self) -> int:
        """Return how many records of the parts have a copy among the records of the data set."""
        return sum(sum(getattr(self, part).duplicate) for part in PARTS)

    def content_hash(self) -> str:
        """Return the sha256 over the content of every part."""
        return hashlib.sha256(
            "".join(getattr(self, p).content_hash() for p in PARTS).encode()
        ).hexdigest()


def load_splits(load: Callable[[int], Records], sizes: SplitSizes) -> Splits:
    """Load as many records as all parts need, and more where whole groups leave a part short.

    Args:
        load: returns the first so many records, or all that there are.
        sizes: the size of each part.

    Raises:
        DataError: there are too few records or groups.
    """
    limit = sizes.total()
    while True:
        records = load(limit)
        enough = limit >= MOST_SPARE * sizes.total() or len(records) < limit
        if enough or _deal(records, sizes) is not None:
            return divide(records, sizes)
        limit *= 2


def divide(records: Records, sizes: SplitSizes) -> Splits:
    """Deal whole groups of records, such as those of one identity, to the parts.

    The order is drawn from a fixed seed: the split belongs to the data, not to a run's seed, so
    that seeds differ in training and attack alone. A record without a group or an identity is a
    group by itself.

    Raises:
        DataError: there are too few records or groups; the message says how many there are and what
            would fit.
    """
    dealt = _deal(records, sizes)
    if dealt is None:
        kinds = (
            "identities"
            if records.groups is None
            else "groups that share no identity and no picture"
        )
        found = f"{len(records)} records in {len(set(records.group_names()))} {kinds}"
        raise DataError(
            f"the data set has {found}, too few for disjoint parts of "
            + ", ".join(f"{getattr(sizes, p)} {p}" for p in PARTS)
            + "; ask for fewer with --records, --auxiliary, --calibration or --evaluation"
        )
    splits = Splits(**{part: records.select(dealt[part]) for part in PARTS})
    check_disjoint(splits)
    return splits


def _deal(records: Records, sizes: SplitSizes) -> dict[str, list[int]] | None:
    """Return the records of each part, or None where there are too few."""
    groups = positions_by_group(records.group_names(), range(len(records)))
    names = sorted(groups)
    order = torch.randperm(len(names), generator=generator(0, "splits")).tolist()
    # The smallest part is filled first, so that one large group cannot starve it.
    wanted = sorted((getattr(sizes, part), part) for part in PARTS)
    dealt: dict[str, list[int]] = {part: [] for part in PARTS}
    queue = [groups[names[i]] for i in order]
    for size, part in wanted:
        while queue and len(dealt[part]) < size:
            dealt[part] += queue.pop()
        if len(dealt[part]) < size:
            return None
        dealt[part] = sorted(dealt[part])[:size]
    return dealt


def check_disjoint(splits: Splits) -> None:
    """Refuse parts that share a record, an identity or a group.

    Raises:
        DataError: the message names the parts and what they share.
    """
    for i, first in enumerate(PARTS):
        for second in PARTS[i + 1 :]:
            a, b = getattr(splits, first), getattr(splits, second)
            shared = set(a.ids) & set(b.ids)
            people = (set(a.identities) & set(b.identities)) - {None}
            groups = set(a.groups or ()) & set(b.groups or ())
            if shared or people or groups:
                raise DataError(
                    f"splits {first} and {second} share {sorted(shared | people or groups)[0]!r}"
                )
