"""Controls are computed and scored once for each truth."""

from __future__ import annotations

import torch

from bench.interfaces import Estimate, ImageBatch
from bench.scoring.control_cache import ControlCache


def _estimate(value: float) -> Estimate:
    return Estimate(ImageBatch(torch.full((2, 3, 4, 4), value)))


def test_one_truth_is_compared_with_the_same_controls_until_a_word_or_a_number_changes():
    cache, made = ControlCache(), []

    def make() -> dict[str, Estimate]:
        made.append(1)
        return {"mean": _estimate(0.5)}

    truth = torch.zeros(2, 3, 4, 4)
    first = cache.get_or_make(["image", "0"], [truth], make)
    first.means["ssim"] = {"mean": 0.25}
    assert cache.get_or_make(["image", "0"], [truth.clone()], make) is first
    assert cache.get_or_make(["image", "1"], [truth], make) is not first
    changed = truth.clone()
    changed[0, 0, 0, 0] = 1e-7
    assert cache.get_or_make(["image", "0"], [changed], make).means == {}
    assert len(made) == 3


def test_the_oldest_reference_goes_when_there_is_no_room():
    cache = ControlCache(most_bytes=2 * _estimate(0.5).images.pixels.nbytes)
    cached = [cache.get_or_make([str(i)], [], lambda: {"mean": _estimate(0.5)}) for i in range(3)]
    assert cache.get_or_make(["2"], [], dict) is cached[2]
    assert cache.get_or_make(["1"], [], dict) is cached[1]
    assert cache.get_or_make(["0"], [], lambda: {"mean": _estimate(0.1)}) is not cached[0]
