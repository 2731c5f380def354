"""Victim, auxiliary, calibration and evaluation share no record and nobody."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from bench.data.split_sizes import SplitSizes
from bench.data.splits import PARTS, Splits, check_disjoint, divide
from bench.interfaces import DataError, Records

SIZES = SplitSizes(victim=10, auxiliary=14, calibration=8, evaluation=6)


def make(count: int, identities: list[str | None]) -> Records:
    pixels = torch.arange(count).view(count, 1, 1, 1).expand(count, 3, 4, 4).to(torch.uint8)
    return Records(
        ids=tuple(f"r{i}" for i in range(count)),
        images=pixels,
        conditions=255 - pixels,
        prompts=tuple(f"p{i}" for i in range(count)),
        identities=tuple(identities),
        attributes=tuple({} for _ in range(count)),
    )


def people(count: int, each: int) -> Records:
    return make(count, [f"person {i // each}" for i in range(count)])


@pytest.mark.parametrize("each", [1, 2, 4])
def test_parts_share_no_record_and_no_identity(each: int) -> None:
    splits = divide(people(80, each), SIZES)
    for part in PARTS:
        assert len(getattr(splits, part)) == getattr(SIZES, part)
    for first, second in itertools.combinations(PARTS, 2):
        a, b = getattr(splits, first), getattr(splits, second)
        assert not set(a.ids) & set(b.ids)
        assert not set(a.identities) & set(b.identities)


def test_records_keep_what_belongs_to_them() -> None:
    splits = divide(people(80, 2), SIZES)
    for part in PARTS:
        records: Records = getattr(splits, part)
        for row, name in enumerate(records.ids):
            number = int(name[1:])
            assert records.prompts[row] == f"p{number}"
            assert records.identities[row] == f"person {number // 2}"
            assert int(records.images[row, 0, 0, 0]) == number
            assert int(records.conditions[row, 0, 0, 0]) == 255 - number


def test_records_without_identity_stand_alone() -> None:
    splits = divide(make(SIZES.total(), [None] * SIZES.total()), SIZES)
    assert sum(len(getattr(splits, part)) for part in PARTS) == SIZES.total()


def test_a_record_named_like_an_identity_is_not_grouped_with_it() -> None:
    names: list[str | None] = [None] * SIZES.total()
    names[5] = "record 3"
    splits = divide(
        make(SIZES.total(), names), SIZES
    )  # would be one group short if 3 and 5 were one
    assert sum(len(getattr(splits, part)) for part in PARTS) == SIZES.total()


def test_the_split_belongs_to_the_data() -> None:
    first, second = divide(people(80, 2), SIZES), divide(people(80, 2), SIZES)
    assert first.manifest() == second.manifest()
    assert first.manifest_hash() == second.manifest_hash()
    assert first.content_hash() == second.content_hash()


def test_the_manifest_hash_is_known() -> None:
    """The hash stands in every row, so a change of how records are dealt must be deliberate."""
    tiny = SplitSizes(victim=2, auxiliary=2, calibration=8, evaluation=2)
    splits = divide(people(14, 1), tiny)
    assert sorted(itertools.chain(*splits.manifest().values())) == sorted(
        f"r{i}" for i in range(14)
    )
    assert splits.manifest_hash()[:16] == "1f78d377428c684e"


def test_the_manifest_hash_moves_with_the_division_and_the_content_hash_with_the_pictures() -> None:
    splits = divide(people(80, 2), SIZES)
    smaller = divide(
        people(80, 2), SplitSizes(victim=10, auxiliary=13, calibration=8, evaluation=6)
    )
    assert smaller.manifest_hash() != splits.manifest_hash()
    images = splits.evaluation.images.clone()
    images[0, 0, 0, 0] += 1
    touched = dataclasses.replace(
        splits, evaluation=dataclasses.replace(splits.evaluation, images=images)
    )
    assert touched.manifest_hash() == splits.manifest_hash()
    assert touched.content_hash() != splits.content_hash()


def test_the_order_is_mixed() -> None:
    """The first people of a data set must not all be victims: data sets are often sorted."""
    numbers = [int(name[1:]) for name in divide(people(80, 1), SIZES).victim.ids]
    assert numbers != list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize(
    ("records", "found"),
    [
        (people(37, 1), "37 records in 37 identities"),
        (people(60, 30), "60 records in 2 identities"),
        (people(0, 1), "0 records in 0 identities"),
    ],
)
def test_too_few_is_one_sentence_that_says_what_there_is(records: Records, found: str) -> None:
    with pytest.raises(DataError, match=found) as caught:
        divide(records, SIZES)
    message = str(caught.value)
    assert "10 victim, 14 auxiliary, 8 calibration, 6 evaluation" in message
    assert "--records" in message
    assert "\n" not in message


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(PARTS, 2)))
def test_a_planted_overlap_is_caught(first: str, second: str) -> None:
    splits = divide(people(80, 2), SIZES)
    check_disjoint(splits)
    thief: Records = getattr(splits, second)
    stolen: Records = getattr(splits, first).select([1])

    def plant(**changes: object) -> Splits:
        return dataclasses.replace(splits, **{second: dataclasses.replace(thief, **changes)})

    with pytest.raises(DataError, match=f"{first} and {second} share '{stolen.ids[0]}'"):
        check_disjoint(plant(ids=(stolen.ids[0], *thief.ids[1:])))
    with pytest.raises(DataError, match=f"{first} and {second} share '{stolen.identities[0]}'"):
        check_disjoint(plant(identities=(stolen.identities[0], *thief.identities[1:])))


def test_two_records_of_nobody_are_not_the_same_person() -> None:
    check_disjoint(divide(make(40, [None] * 40), SIZES))
