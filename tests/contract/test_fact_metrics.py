"""What every metric of attributes and identities must hold to."""

from __future__ import annotations

import pytest
import torch

from bench.interfaces import (
    AttributeMetric,
    AttributeOdds,
    BenchError,
    Estimate,
    Fact,
    IdentityMetric,
    IdentityScores,
    ImageBatch,
    Metric,
    ScoringContext,
)
from bench.interfaces.registry import Registry, listing

LOADED = {name: Registry("metrics", Metric).load(name) for name in listing("metrics").names()}
FACT_METRICS = sorted(
    n for n, kind in LOADED.items() if issubclass(kind, AttributeMetric | IdentityMetric)
)
NOTHING = ScoringContext.__new__(ScoringContext)  # metrics of facts look at the facts alone
VALUES = {"hat": ("none", "cap"), "hair": ("black", "red", "grey")}
TRUE = tuple({"hat": VALUES["hat"][i % 2], "hair": VALUES["hair"][i % 3]} for i in range(8))


def told(name: str) -> tuple[Fact, Fact]:
    """A random claim and a truth of the metric's kind."""
    rng = torch.Generator().manual_seed(0)
    if issubclass(LOADED[name], AttributeMetric):
        odds = {attribute: torch.rand(8, len(v), generator=rng) for attribute, v in VALUES.items()}
        return AttributeOdds(VALUES, odds), AttributeOdds.one_hot(TRUE, VALUES)
    return IdentityScores(torch.rand(8, 20, generator=rng)), IdentityScores.one_hot(
        range(3, 11), 20
    )


@pytest.mark.parametrize("name", FACT_METRICS)
def test_the_truth_is_the_best_claim_and_values_are_one_a_record(name):
    metric = LOADED[name].build({})
    claim, truth = told(name)
    perfect, other = metric.compare(truth, truth, NOTHING), metric.compare(claim, truth, NOTHING)
    assert perfect.shape == other.shape == (8,)
    assert perfect.dtype == other.dtype == torch.float64
    assert float(perfect.mean()) == pytest.approx(1.0)
    assert bool((other <= perfect).all() if metric.higher_is_closer else (other >= perfect).all())
    assert abs(float(other.mean()) - 1.0) > 0.1


@pytest.mark.parametrize("name", FACT_METRICS)
def test_the_order_of_records_does_not_matter(name):
    metric = LOADED[name].build({})
    claim, truth = told(name)
    order = [3, 1, 7, 0, 2, 6, 5, 4]
    moved = metric.compare(claim.take(order), truth.take(order), NOTHING)
    assert moved.tolist() == pytest.approx(metric.compare(claim, truth, NOTHING)[order].tolist())


@pytest.mark.parametrize("name", FACT_METRICS)
def test_knowing_nothing_gains_nothing(name):
    """Every record told alike: no tie counts for the attacker, and a ranking without order is worth
    a half.
    """
    metric = LOADED[name].build({})
    claim, truth = told(name)
    if isinstance(claim, AttributeOdds):
        blind: Fact = AttributeOdds(VALUES, {n: torch.ones(8, len(v)) for n, v in VALUES.items()})
    else:
        blind = IdentityScores(torch.ones(8, 20))
    expected = {"attribute_auc": 0.5, "identity_rank": 20.0}.get(name, 0.0)
    assert metric.compare(blind, truth, NOTHING).tolist() == pytest.approx([expected] * 8)


@pytest.mark.parametrize("name", FACT_METRICS)
def test_a_metric_of_facts_refuses_pictures(name):
    grey = Estimate(ImageBatch(torch.full((1, 3, 8, 8), 0.5)))
    with pytest.raises(BenchError, match="not pictures"):
        LOADED[name].build({}).score(grey, grey, NOTHING)
