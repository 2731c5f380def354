"""Records in memory."""

from __future__ import annotations

import pytest
import torch

from bench.interfaces import ImageBatch
from tests.conftest import make_records


def test_a_record_may_be_taken_several_times() -> None:
    chosen = make_records(3).select([0, 2, 0, 0])
    assert chosen.ids == ("r0-0", "r0-2", "r0-0#2", "r0-0#3")
    assert torch.equal(chosen.images[0], chosen.images[3])
    assert chosen.identities[0] == chosen.identities[2]
    again = chosen.select([2, 0, 2, 3])
    assert len(set(again.ids)) == 4


def test_a_selection_without_repeats_keeps_its_ids() -> None:
    records = make_records(4)
    assert records.select([3, 1]).ids == (records.ids[3], records.ids[1])


def test_a_copy_shares_nothing_that_can_be_changed() -> None:
    records = make_records(2)
    copy = records.copy()
    copy.images.zero_()
    copy.conditions.zero_()
    copy.attributes[0]["hat"] = "red"  # type: ignore[index]
    assert records.pixel_hash() == make_records(2).pixel_hash()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_pictures_of_values_that_are_not_finite_stay_marked(value: float) -> None:
    pixels = torch.full((3, 3, 4, 4), 0.5)
    pixels[1, 0, 0, 0] = value
    images = ImageBatch.from_signed(pixels)
    assert images.not_finite() == 1
    assert images.take([1, 1]).not_finite() == 2
    assert images.take([0]).not_finite() == 0
    assert images.to("cpu").not_finite() == 1
    clean = ImageBatch.clamped(torch.zeros(2, 3, 4, 4))
    assert clean.not_finite() == 0
    assert ImageBatch.cat([clean, images]).broken is not None
    assert ImageBatch.cat([clean, images]).not_finite() == 1
