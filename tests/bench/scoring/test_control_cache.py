"""Controls are made and scored once for the same truth, and anew for another."""

from __future__ import annotations

import torch

from bench.interfaces import Estimate, ImageBatch
from bench.scoring.control_cache import ControlCache


def _estimate(value: float) -> Estimate:
    return Estimate(ImageBatch(torch.full((2, 3, 4, 4), value)))


def test_one_truth_is_compared_with_the_same_controls_until_a_word_or_a_number_changes():
    book, made = ControlCache(), []

    def make() -> dict[str, Estimate]:
        made.append(1)
        return {"mean": _estimate(0.5)}

    truth = torch.zeros(2, 3, 4, 4)
    first = book.of(["image", "0"], [truth], make)
    first.means["ssim"] = {"mean": 0.25}
    assert book.of(["image", "0"], [truth.clone()], make) is first
    assert book.of(["image", "1"], [truth], make) is not first
    changed = truth.clone()
    changed[0, 0, 0, 0] = 1e-7
    assert book.of(["image", "0"], [changed], make).means == {}
    assert len(made) == 3


def test_the_oldest_reference_goes_when_there_is_no_room():
    book = ControlCache(room=2 * _estimate(0.5).images.pixels.nbytes)
    references = [book.of([str(i)], [], lambda: {"mean": _estimate(0.5)}) for i in range(3)]
    assert book.of(["2"], [], dict) is references[2]
    assert book.of(["1"], [], dict) is references[1]
    assert book.of(["0"], [], lambda: {"mean": _estimate(0.1)}) is not references[0]
