"""Privacy statements against published values, and against the best test that there is."""

from __future__ import annotations

import math

import pytest
import torch

from bench.interfaces import NoiseSchedule, ProtectContext, generator
from defenses.common.gaussian_accounting import epsilon_of, gaussian_mu
from defenses.gaussian_noise import GaussianNoise
from defenses.laplace_noise import LaplaceNoise
from defenses.timestep import TimestepPolicy

SCHEDULE = NoiseSchedule.stable_diffusion()
TABLE = {  # epsilon at delta 1e-5 of one release, by t and D
    200: {1: 8.5, 2: 20, 8: 157},
    500: {1: 2.5, 2: 5.6, 8: 33, 16: 90},
    800: {1: 0.71, 2: 1.5, 8: 7.4, 16: 18},
    999: {1: 0.23, 2: 0.48, 8: 2.2, 16: 4.9, 128: 75},
}


def delta_of(epsilon: float, mu: float) -> float:
    """Balle & Wang, arXiv:1805.06530, theorem 8; Dong et al., arXiv:1905.02383, corollary 2.13."""
    phi = torch.distributions.Normal(0.0, 1.0).cdf
    above, below = (
        phi(torch.tensor(-epsilon / mu + s * mu / 2, dtype=torch.float64)) for s in (1, -1)
    )
    return float(above - math.exp(epsilon) * below)


@pytest.mark.parametrize(("t", "distance"), [(t, d) for t, row in TABLE.items() for d in row])
def test_the_timestep_mechanism_has_the_published_epsilon(t, distance):
    policy = TimestepPolicy.build({"t_min": t, "sensitivity": distance})
    assert policy.guarantee(1, SCHEDULE).epsilon == pytest.approx(TABLE[t][distance], rel=0.05)


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5])
def test_epsilon_is_where_the_gaussian_profile_meets_delta(mu, delta):
    assert delta_of(epsilon_of(mu, delta), mu) == pytest.approx(delta, rel=1e-3)
    assert gaussian_mu(epsilon_of(mu, delta), delta) == pytest.approx(mu, rel=1e-3)


def test_the_gaussian_profile_has_its_known_values():
    """delta(0) is the total variation distance 2 Phi(mu / 2) - 1; it is 0.3829 at mu = 1."""
    assert delta_of(0.0, 1.0) == pytest.approx(0.38292, abs=1e-5)
    assert delta_of(1.0, 1.0) == pytest.approx(0.12693, abs=1e-4)


def test_the_classical_calibration_is_never_better_than_the_exact_one():
    """The bound of Dwork & Roth 2014, theorem A.1, holds for epsilon below 1."""
    for epsilon in (0.2, 0.5, 0.9):
        classical = math.sqrt(2 * math.log(1.25 / 1e-5)) / epsilon
        assert epsilon_of(1 / classical, 1e-5) <= epsilon


def rates(null: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """False and true positive rates of every threshold on a statistic."""
    thresholds = torch.cat([null, other]).quantile(
        torch.linspace(0.001, 0.999, 400, dtype=torch.float64)
    )
    return tuple((s.unsqueeze(1) > thresholds).double().mean(0) for s in (null, other))  # type: ignore[return-value]


def assert_within(
    fpr: torch.Tensor, tpr: torch.Tensor, epsilon: float, delta: float, count: int
) -> None:
    """Kairouz, Oh & Viswanath, arXiv:1311.0776, theorem 2.1, up to sampling error of the counts."""

    def slack(rate: torch.Tensor) -> torch.Tensor:
        return (
            4 * (rate * (1 - rate) / count).sqrt() + 8 / count
        )  # Bernstein: also where nothing was counted

    for hit, miss in ((tpr, fpr), (1 - fpr, 1 - tpr)):
        assert bool((hit - slack(hit) <= math.exp(epsilon) * (miss + slack(miss)) + delta).all())


COUNT = 40_000


def noised(defense, features: torch.Tensor, seed: int) -> torch.Tensor:
    batch = features.expand(COUNT, -1, -1, -1).contiguous()
    rng = generator(seed, "attack")
    where = torch.zeros(COUNT, dtype=torch.long)
    context = ProtectContext("training", where, SCHEDULE, torch.zeros(1, 1, 1), ("r",) * COUNT, rng)
    return defense.protect(defense.params.channels[0], batch, context).flatten(1).double()


@pytest.mark.parametrize("delta", [1e-1, 1e-2, 1e-3])
def test_the_likelihood_ratio_never_beats_gaussian_noise(delta):
    """Neyman & Pearson: no test beats it; the two records are as far apart as clipping allows."""
    size = 2 * 2 * 2
    one = torch.full((1, 2, 2, 2), 5.0)
    defense = GaussianNoise.build({"multiplier": 1.5, "where": "unet", "delta": delta, "clip": 1.0})
    epsilon = defense.guarantee(1, SCHEDULE).epsilon
    null, other = (
        noised(defense, record, seed).sum(1) / math.sqrt(size)
        for seed, record in ((0, -one), (1, one))
    )
    fpr, tpr = rates(null, other)
    assert_within(fpr, tpr, epsilon, delta, COUNT)
    advantage = float((tpr - fpr).max())
    assert advantage == pytest.approx(delta_of(0.0, 2 / 1.5), abs=0.02), (
        "and it comes as near as it should"
    )


def test_the_likelihood_ratio_does_beat_a_claim_that_is_too_strong():
    """Sabotage: the same noise, with half the epsilon claimed."""
    one = torch.full((1, 2, 2, 2), 5.0)
    defense = GaussianNoise.build({"multiplier": 1.5, "where": "unet", "delta": 1e-2})
    epsilon = defense.guarantee(1, SCHEDULE).epsilon
    null, other = (noised(defense, record, seed).sum(1) for seed, record in ((0, -one), (1, one)))
    with pytest.raises(AssertionError):
        assert_within(*rates(null, other), epsilon / 2, 1e-2, COUNT)


def test_the_likelihood_ratio_never_beats_laplace_noise():
    defense = LaplaceNoise.build({"clip": 1.0, "epsilon": 1.0, "where": "unet"})
    one = torch.full((1, 1, 1, 1), 9.0)
    b = 2.0
    null, other = (
        ((x + 1).abs() - (x - 1).abs()).squeeze(1) / b
        for x in (noised(defense, -one, 0), noised(defense, one, 1))
    )
    jitter = 1e-9 * torch.randn(
        COUNT, generator=generator(2), dtype=torch.float64
    )  # the ratio has atoms at its ends
    fpr, tpr = rates(null + jitter, other + jitter)
    assert_within(fpr, tpr, 1.0, 0.0, COUNT)
    assert float((tpr - fpr).max()) == pytest.approx(1 - math.exp(-0.5), abs=0.02)


@pytest.mark.parametrize("t", [500, 800])
def test_the_likelihood_ratio_never_beats_the_timestep_mechanism(t):
    """Two latents at distance D, seen as x_t with the noise target hidden."""
    delta, rng = 1e-2, generator(5)
    epsilon = (
        TimestepPolicy.build({"t_min": t, "sensitivity": 2.0, "delta": delta})
        .guarantee(1, SCHEDULE)
        .epsilon
    )
    time = torch.full((COUNT,), t)
    seen = []
    for latent in (-0.5, 0.5):  # four numbers, one apart each: D = 2
        z0 = torch.full((COUNT, 4, 1, 1), latent)
        x = SCHEDULE.add_noise(z0, torch.randn(z0.shape, generator=rng), time)
        seen.append(x.flatten(1).double().sum(1))
    assert_within(*rates(*seen), epsilon, delta, COUNT)
