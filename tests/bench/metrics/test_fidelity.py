"""Condition fidelity separates samples that follow their hints from samples that do not."""

from __future__ import annotations

import pytest
import torch

from bench.data.conditions import CHOICES
from bench.data.fill import Fill
from bench.data.portraits.dataset import Portraits
from bench.interfaces import ImageBatch, Records, Silent
from bench.metrics.edge_agreement import edge_f1
from bench.metrics.fidelity import condition_fidelity, tolerance


def portraits(condition: str, count: int = 8) -> Records:
    dataset: Portraits = Portraits.build({"photos_per_identity": 1})
    return dataset.load(count, image_size=64, condition=condition, progress=Silent())


def shifted(images: torch.Tensor) -> ImageBatch:
    """Pictures moved one pixel to the right: followers that are not exact."""
    return ImageBatch.from_uint8(torch.cat([images[..., :1], images[..., :-1]], dim=-1))


@pytest.mark.parametrize("condition", ["canny", "scribble"])
def test_followers_of_outlines_stand_clear_of_chance(condition: str) -> None:
    records = portraits(condition)
    found = condition_fidelity(shifted(records.images), records.condition_batch(), condition)
    assert found["condition_edge_f1"] > 0.7
    assert found["condition_edge_f1_chance"] < found["condition_edge_f1"] - 0.25


def test_direction_lowers_what_other_pictures_get_and_hardly_what_followers_get() -> None:
    records = portraits("canny", 16)
    hints = records.condition_batch()
    others = hints.take([*range(1, 16), 0])
    moved = shifted(records.conditions)
    plain, directed = (float(edge_f1(others, hints, 1, directed=d).mean()) for d in (False, True))
    assert directed < 0.7 * plain
    assert float(edge_f1(moved, hints, 1, directed=True).mean()) > 0.95


def test_lines_that_cross_do_not_match_when_directed() -> None:
    upright = torch.zeros(1, 3, 32, 32)
    upright[..., 4::8] = 1.0
    level = upright.transpose(2, 3)
    first, second = ImageBatch(upright), ImageBatch(level.contiguous())
    assert float(edge_f1(first, second, 1)) > 0.3
    assert float(edge_f1(first, second, 1, directed=True)) < 0.1
    assert float(edge_f1(first, first, 0, directed=True)) == 1.0


def test_the_outline_of_fill_is_found_in_its_pictures() -> None:
    dataset: Fill = Fill.build({})
    records = dataset.load(24, image_size=64, condition="outline", progress=Silent())
    found = condition_fidelity(records.image_batch(), records.condition_batch(), "outline")
    assert found["condition_edge_f1"] > 0.95
    assert found["condition_edge_f1_chance"] < 0.3


def test_colour_hints_are_compared_as_pictures() -> None:
    records = portraits("blur")
    found = condition_fidelity(records.image_batch(), records.condition_batch(), "blur")
    assert set(found) == {f"condition_ssim{end}" for end in ("", "_se", "_chance", "_chance_se")}
    assert found["condition_ssim"] > found["condition_ssim_chance"] + 0.1


@pytest.mark.parametrize("condition", ["random", "segmentation", "depth", "own", "own+canny"])
def test_hints_that_no_pixels_tell_are_not_judged(condition: str) -> None:
    records = portraits("canny", 2)
    assert condition_fidelity(records.image_batch(), records.condition_batch(), condition) == {}


def test_every_extractor_has_an_answer() -> None:
    records = portraits("canny", 2)
    for condition in CHOICES:
        found = condition_fidelity(records.image_batch(), records.condition_batch(), condition)
        assert bool(found) == (condition != "random")


def test_tolerance_grows_with_the_picture() -> None:
    assert [tolerance(size, size) for size in (32, 64, 128, 256, 512)] == [1, 1, 1, 2, 5]
