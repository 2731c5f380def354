"""The test of single records finds exposed ones and stays quiet where changes are chance."""

from __future__ import annotations

import numpy as np
import pytest

from bench.interfaces import BenchError
from bench.reports.check.tail import jump_p, sign_p, tail_of
from bench.util.stats import holm

NOISES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "Laplace": lambda rng, n: rng.laplace(size=n),
    "Student's t of 5 degrees": lambda rng, n: rng.standard_t(5, size=n),
}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("records", [16, 48])
def test_harmless_changes_seldom_count(noise, records):
    """At most 5 in 100 for 48 records; for 16, whose scale is known less well, 1 in 10."""
    rng = np.random.default_rng(0)
    found = [jump_p(NOISES[noise](rng, records).tolist()) < 0.05 for _ in range(600)]
    assert np.mean(found) <= (0.05 if records == 48 else 0.1)


@pytest.mark.parametrize("exposed", [1, 2, 3])
def test_exposed_records_are_found_in_the_noise_of_the_others(exposed):
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(100):
        changes = rng.normal(size=48) * 0.05
        changes[:exposed] += 0.75
        p_values.append(jump_p(changes.tolist()))
    assert np.mean([p < 0.05 / 10 for p in p_values]) > 0.9


def test_known_answers():
    assert jump_p([0.0, 0.0, 0.0, 0.5]) == 0.0
    assert jump_p([0.0, 0.0]) == 1.0
    assert jump_p([-0.5, 0.0, 0.0, 0.0]) == 1.0
    assert sign_p(0, 9) == 1.0
    assert sign_p(5, 0) == pytest.approx(1 / 32)
    assert sign_p(3, 3) == pytest.approx(42 / 64)
    tail = tail_of(
        {"a": 0.1, "b": 0.9, "c": 0.1}, {"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0, "c": 1.0}
    )
    assert (tail.record, tail.jump) == ("b", pytest.approx(0.8))
    assert (tail.exposed, tail.hidden) == (1, 1)


def test_of_scores_that_say_yes_or_no_only_the_number_counts():
    one = {f"r{i}": float(i == 0) for i in range(48)}
    assert tail_of(one, {}, {}).jump_p == 0.0
    assert tail_of(one, {}, {}, binary=True).jump_p == 0.5
    seven = {f"r{i}": float(i < 7) for i in range(48)}
    assert tail_of(seven, {}, {}, binary=True).jump_p == pytest.approx(1 / 128)


def test_weights_of_holm():
    assert holm([0.01, 0.02], [1.0, 1.0]) == pytest.approx(holm([0.01, 0.02]))
    assert holm([0.01, 0.01], [0.8, 0.2]) == pytest.approx([0.0125, 0.0125])
    assert holm([0.04, 0.01], [0.5, 1.5]) == pytest.approx([0.04, 0.04 / 3])
    with pytest.raises(BenchError):
        holm([0.1], [])
    with pytest.raises(BenchError):
        holm([0.1], [0.0])
