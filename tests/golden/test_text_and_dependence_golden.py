"""ROUGE-L against ``rouge-score``, and distance correlation against ``dcor``."""

from __future__ import annotations

import pytest
import torch

from bench.interfaces import generator
from bench.metrics.dependence import corrected_distance_correlation, distance_correlation
from bench.metrics.rouge import rouge_l, rouge_table

TEXTS = (
    "a portrait of a woman with red hair",
    "portrait of a man with short red hair and a hat",
    "A red hat, and a woman!",
    "hair red with woman a of portrait a",
    "nothing in common",
    "x",
)


def test_rouge_l_is_that_of_the_reference_package() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    table = rouge_table(TEXTS, TEXTS)
    for i, claim in enumerate(TEXTS):
        for j, truth in enumerate(TEXTS):
            expected = scorer.score(target=truth, prediction=claim)["rougeL"].fmeasure
            assert table[i, j] == pytest.approx(expected, abs=1e-12), (claim, truth)
    assert rouge_l(TEXTS, TEXTS).tolist() == [1.0] * len(TEXTS)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("widths", [(1, 1), (3, 5), (40, 7)])
def test_distance_correlation_is_that_of_the_reference_package(
    widths: tuple[int, int], shared: float
) -> None:
    import dcor

    rng = generator(0, "golden", str(widths))
    x = torch.randn(20, widths[0], generator=rng, dtype=torch.float64)
    noise = torch.randn(20, widths[1], generator=rng, dtype=torch.float64)
    y = shared * x[:, :1].square() + (1 - shared) * noise
    assert float(distance_correlation(x, y)) == pytest.approx(
        dcor.distance_correlation(x.numpy(), y.numpy()), abs=1e-9
    )
    squared = dcor.u_distance_correlation_sqr(x.numpy(), y.numpy())
    assert corrected_distance_correlation(x, y) == pytest.approx(squared, abs=1e-9)
