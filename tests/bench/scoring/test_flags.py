"""Reasons to doubt a row, found by machine."""

from __future__ import annotations

import json
import math

import pytest
import torch

from bench.interfaces import Costs
from bench.scoring.flags import flags
from bench.scoring.score import MetricScore


def score(low: float, floor: float, ceiling: float, nearest: float = 0.0) -> MetricScore:
    """An SSIM of which only the bounds matter."""
    return MetricScore(
        metric="ssim", higher_is_closer=True, values=torch.zeros(2), mean=low, low=low, high=low,
        controls={"nearest": nearest}, floor=floor, ceiling=ceiling, normalized=0.0, backbone=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (score(0.5, 0.3, 0.9), []),
        (score(0.2, 0.3, 0.9), ["floor-overlap"]),
        (score(0.35, 0.3, 0.9, nearest=0.4), ["below-nearest"]),
        (score(0.5, 0.45, 0.52), ["controls-close"]),
        (score(0.5, 0.3, math.nan), []),
    ],
)
def test_scores_raise_flags(given, found):
    assert flags([given], {}, [1.0] * 10) == found


def test_losses_raise_flags():
    assert flags([], {}, [1.0] * 10 + [2.0] * 10) == ["victim-loss-rose"]
    assert flags([], {}, [1.0] * 10 + [math.nan] * 10) == ["victim-loss-not-finite"]
    assert flags([], {"attack_loss_first": 1.0, "attack_loss_last": 2.0}, []) == [
        "attack-loss-rose"
    ]


def test_losses_that_broke_down_survive_the_file() -> None:
    costs = Costs(
        bytes_up=1.0,
        bytes_down=0.0,
        bytes_once=0,
        client_seconds=0.1,
        server_seconds=0.1,
        peak_memory_mib=1.0,
        steps=3,
        losses=(0.5, float("inf"), float("nan")),
    )
    read = Costs.model_validate(json.loads(costs.model_dump_json()))
    assert read.losses[:2] == (0.5, float("inf"))
    assert math.isnan(read.losses[2])
