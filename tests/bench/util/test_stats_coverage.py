"""By simulation: intervals hold the truth as often as they say, also with three training runs."""

from __future__ import annotations

import numpy as np
import pytest

from bench.reports.seed_statistics import SeedScores, exceeds_seed_spread, p_worst_below, worst_case
from bench.util.stats import holm, mean_interval, p_above_zero


def clustered(
    rng: np.random.Generator, seeds: int, between: float, within: float, records: int = 64
) -> np.ndarray:
    """``(seeds, records)`` with true mean 0."""
    return between * rng.normal(size=(seeds, 1)) + within * rng.normal(size=(seeds, records))


def covered(
    rng: np.random.Generator, seeds: int, between: float, repeats: int, records: int = 64
) -> float:
    """Share of 95 % intervals over ``seeds`` clusters that hold the true mean."""
    names = np.repeat(np.arange(seeds), records).tolist()
    held = 0
    for repeat in range(repeats):
        values = clustered(rng, seeds, between, 1.0, records).ravel()
        interval = mean_interval(values, clusters=names, seed=repeat, resamples=400)
        held += interval.low <= 0.0 <= interval.high
    return held / repeats


@pytest.mark.parametrize(
    "between", [0.0, 0.1, 0.5, 2.0], ids=lambda ratio: f"between/within {ratio}"
)
@pytest.mark.parametrize("seeds", [3, 5])
def test_few_clusters_are_covered_whatever_their_share_of_the_variance(seeds, between):
    assert covered(np.random.default_rng(0), seeds, between, 2000) >= 0.93


def test_many_clusters_are_covered_by_the_bootstrap():
    assert 0.91 <= covered(np.random.default_rng(1), 45, 0.5, 200, records=8) <= 0.99


def test_the_percentile_bootstrap_of_three_clusters_would_not_do():
    """What the method replaces: resampling three means."""
    rng, held = np.random.default_rng(2), 0
    for _ in range(1000):
        means = clustered(rng, 3, 0.5, 1.0).mean(1)
        draws = means[rng.integers(0, 3, size=(400, 3))].mean(1)
        held += np.quantile(draws, 0.025) <= 0.0 <= np.quantile(draws, 0.975)
    assert held / 1000 < 0.85


def test_runs_of_unequal_spread_are_covered():
    rng, held = np.random.default_rng(3), 0
    for repeat in range(2000):
        values = (clustered(rng, 3, 1.0, 1.0) * np.array([[0.1], [1.0], [3.0]])).ravel()
        interval = mean_interval(values, clusters=np.repeat(range(3), 64).tolist(), seed=repeat)
        held += interval.low <= 0.0 <= interval.high
    assert held / 2000 >= 0.93


def attacks(
    rng: np.random.Generator, means: list[float], seeds: int = 3, records: int = 32
) -> dict[str, SeedScores]:
    """Attacks of given true means on the same records and runs."""
    common = clustered(rng, seeds, 0.05, 0.2, records)
    found = {}
    for i, mean in enumerate(means):
        values = common + clustered(rng, seeds, 0.05, 0.1, records) + mean
        found[f"a{i}"] = SeedScores(
            {s: dict(enumerate(row.tolist())) for s, row in enumerate(values)}
        )
    return found


@pytest.mark.parametrize(
    "means", [[0.5] * 8, [0.5] + [0.2] * 7, [0.5]], ids=["equal", "one leads", "one attack"]
)
def test_the_worst_case_is_covered(means):
    rng, held = np.random.default_rng(4), 0
    for repeat in range(500):
        interval = worst_case(attacks(rng, means, records=8), seed=repeat).interval
        held += interval.low <= 0.5 <= interval.high
    assert held / 500 >= 0.93


def test_the_winners_own_interval_would_not_cover_the_worst_case():
    rng, held = np.random.default_rng(5), 0
    for repeat in range(200):
        found = attacks(rng, [0.5] * 12, seeds=10)
        own = found[worst_case(found, seed=repeat).attack].interval()
        held += own.low <= 0.5 <= own.high
    assert held / 200 < 0.92


def test_a_defence_that_changes_nothing_is_seldom_found_to_help():
    rng, found = np.random.default_rng(6), 0
    for _ in range(500):
        both = attacks(rng, [0.5] * 6, records=8)
        defended, undefended = (
            {n: both[n] for n in names} for names in (("a0", "a1", "a2"), ("a3", "a4", "a5"))
        )
        found += p_worst_below(defended, undefended) < 0.05
    assert found / 500 <= 0.06


def test_a_defence_against_all_attacks_is_found_and_one_against_the_best_only_is_not():
    rng = np.random.default_rng(7)
    both = attacks(rng, [0.1, 0.1, 0.9, 0.8], seeds=5)
    undefended = {n: both[n] for n in ("a2", "a3")}
    assert p_worst_below({n: both[n] for n in ("a0", "a1")}, undefended) < 0.01
    assert p_worst_below({"a0": both["a0"], "a2": both["a2"]}, undefended) == 1.0


def test_p_values_are_uniform_where_nothing_differs():
    rng = np.random.default_rng(8)
    names = np.repeat(range(3), 64).tolist()
    p = [p_above_zero(clustered(rng, 3, 0.5, 1.0).ravel(), clusters=names) for _ in range(2000)]
    assert 0.035 <= np.mean(np.array(p) < 0.05) <= 0.065


def test_holm_on_known_answers():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_another_training_run_seldom_stands_out():
    rng = np.random.default_rng(9)
    runs = rng.normal(size=(2000, 2, 3))
    assert np.mean([exceeds_seed_spread(old, new - old, 0.05) for old, new in runs]) <= 0.06


def test_a_collapse_at_one_seed_stands_out():
    assert exceeds_seed_spread([0.80, 0.81, 0.79], [0.8, 0.0, 0.0], 0.05)
    assert not exceeds_seed_spread([0.80, 0.81, 0.79], [0.02, -0.01, 0.0], 0.05)


def test_records_pair_by_name_and_else_by_means():
    one = SeedScores({0: {"a": 1.0, "b": 3.0}})
    assert one.minus(SeedScores({0: {"b": 1.0, "a": 1.0}})).by_seed == {0: {"a": 0.0, "b": 2.0}}
    assert one.minus(SeedScores({0: {"c": 1.0, "d": 2.0}})).by_seed == {0: {"mean": 0.5}}
    drawn = SeedScores({0: {"a": 1.0, "b": 1.0}}, {0: "other records of the same names"})
    assert one.minus(drawn).by_seed == {0: {"mean": 1.0}}
