"""Intervals hold what they promise, and refuse what they cannot use."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.interfaces import BenchError
from bench.util.stats import (
    StatsError,
    mean_interval,
    normalized,
    p_above_zero,
    p_shift_above_zero,
    paired_difference,
    share_interval,
)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    held = 0
    for repeat in range(300):
        interval = mean_interval(rng.normal(0.3, 1.0, size=60), seed=repeat, resamples=600)
        held += interval.low <= 0.3 <= interval.high
    assert 0.90 <= held / 300 <= 0.99


def test_clusters_widen_the_interval_where_records_go_together() -> None:
    rng = np.random.default_rng(1)
    seeds = np.repeat(np.arange(10), 30)
    values = rng.normal(size=10)[seeds] + 0.1 * rng.normal(size=300)
    apart = mean_interval(values, seed=0)
    together = mean_interval(values, clusters=seeds.tolist(), seed=0)
    assert together.mean == apart.mean == pytest.approx(float(values.mean()))
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_clusters_of_unequal_size_weigh_by_their_records() -> None:
    values = np.array([1.0] * 9 + [0.0])
    interval = mean_interval(values, clusters=["a"] * 9 + ["b"], seed=0)
    assert interval.mean == pytest.approx(0.9)
    # Residuals of the two runs are 0.9 / 5 and -0.9 / 5; Student's t of one degree of freedom is
    # 12.7062.
    assert interval.high - interval.mean == pytest.approx(12.7062 * 0.18, rel=1e-4)


def test_three_runs_agree_with_a_t_interval_over_their_means() -> None:
    values = np.concatenate([np.full(5, 1.0), np.full(5, 2.0), np.full(5, 4.0)])
    interval = mean_interval(values, clusters=np.repeat(range(3), 5).tolist(), seed=0)
    assert (interval.low, interval.high) == pytest.approx(
        (-1.4612497, 6.1279164), rel=1e-6
    )  # scipy.stats.t.interval


def test_one_cluster_falls_back_to_records() -> None:
    values = np.linspace(0.0, 1.0, 40)
    assert mean_interval(values, clusters=[7] * 40, seed=3) == mean_interval(values, seed=3)


def test_the_seed_decides_the_interval_and_the_order_of_names_does_not() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_a_single_record_has_a_mean_but_no_interval() -> None:
    interval = mean_interval([0.5], seed=0)
    assert interval.mean == 0.5
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_pairing_removes_the_difficulty_of_the_records() -> None:
    rng = np.random.default_rng(5)
    difficulty = rng.normal(size=100)
    first, second = difficulty + 0.1, difficulty + 0.01 * rng.normal(size=100)
    paired = paired_difference(first, second, seed=0)
    alone = mean_interval(first, seed=0)
    assert 0.09 < paired.low < paired.high < 0.11
    assert paired.high - paired.low < (alone.high - alone.low) / 10


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [1.0, math.inf], [[1.0, 2.0]]])
def test_what_has_no_mean_is_refused(values: list[float]) -> None:
    with pytest.raises(BenchError, match="statistics"):
        mean_interval(values, seed=0)


def test_what_does_not_line_up_is_refused() -> None:
    with pytest.raises(BenchError, match="cluster names"):
        mean_interval([1.0, 2.0], clusters=["a"], seed=0)
    with pytest.raises(BenchError, match="pair up"):
        paired_difference([1.0, 2.0], [1.0], seed=0)
    with pytest.raises(BenchError, match="level"):
        mean_interval([1.0, 2.0], seed=0, level=1.0)


def test_normalized_puts_floor_at_zero_and_ceiling_at_one() -> None:
    assert normalized(0.2, 0.2, 0.8) == 0.0
    assert normalized(0.8, 0.2, 0.8) == pytest.approx(1.0)
    assert normalized(0.5, 0.8, 0.2) == pytest.approx(0.5)
    assert normalized(0.1, 0.2, 0.8) < 0.0
    assert math.isnan(normalized(0.5, 0.3, 0.3))
    assert math.isnan(normalized(math.nan, 0.0, 1.0))


def test_a_shift_of_every_record_is_seen_through_heavy_tails():
    """All of 16 fall, a few by far: the t-test alone is unsure."""
    drops = [
        0.002,
        0.02,
        0.021,
        0.03,
        0.031,
        0.04,
        0.05,
        0.051,
        0.052,
        0.09,
        0.17,
        0.33,
        0.36,
        0.8,
        0.84,
        1.07,
    ]
    assert p_above_zero(drops) > 0.005
    assert p_shift_above_zero(drops) == pytest.approx(2 / 2**16)
    assert p_shift_above_zero([-value for value in drops]) == 1.0
    assert p_shift_above_zero([0.0] * 16) == 1.0


def test_the_shift_test_keeps_its_level():
    rng = np.random.default_rng(0)
    for draw in (rng.standard_normal, rng.standard_cauchy):
        hits = sum(p_shift_above_zero(draw(16)) < 0.05 for _ in range(400))
        assert hits <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)


@pytest.mark.parametrize(
    ("ones", "of", "low", "high"),
    [
        (15, 16, 0.7167, 0.9889),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_the_interval_of_a_share_is_wilsons(ones: int, of: int, low: float, high: float) -> None:
    """As statsmodels' ``proportion_confint(method="wilson")`` gives them, to four places."""
    found = share_interval([1.0] * ones + [0.0] * (of - ones))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert 0.0 <= found.low <= found.mean == ones / of <= found.high <= 1.0


def test_a_share_covers_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    held = sum((i := share_interval(rng.random(24) < 0.9)).low <= 0.9 <= i.high for _ in range(500))
    assert 0.92 <= held / 500 <= 0.99


def test_a_share_is_of_zeros_and_ones() -> None:
    with pytest.raises(StatsError, match="0 or 1"):
        share_interval([0.5, 1.0])
