"""Known answers for the published defences."""

from __future__ import annotations

import math

import pytest
import torch

from bench.interfaces import (
    CONTROL_FEATURES,
    NOISE_TARGET,
    PROMPT_EMBEDDING,
    Defense,
    NoiseSchedule,
    ProtectContext,
    RequestError,
    generator,
)
from defenses.activation import Activation, activation, inverse_activation
from defenses.compose import Compose
from defenses.prompt import PromptRetention
from defenses.timestep import TimestepPolicy, gaussian_mu

SCHEDULE = NoiseSchedule.stable_diffusion()


def context() -> ProtectContext:
    return ProtectContext(
        phase="training",
        timesteps=torch.zeros(2, dtype=torch.long),
        schedule=SCHEDULE,
        empty_prompt=torch.full((1, 3, 4), 7.0),
        record_ids=("a", "b"),
        rng=generator(0, "test"),
    )


@pytest.mark.parametrize(
    ("t", "snr"),
    [(5, 193), (100, 8.45), (200, 3.06), (500, 0.382), (800, 0.038), (900, 0.0144), (999, 0.0047)],
)
def test_schedule_has_the_snr_of_stable_diffusion(t, snr):
    assert float(SCHEDULE.snr(t)) == pytest.approx(snr, rel=0.02)


def test_timestep_by_constant_snr_and_epsilon():
    assert TimestepPolicy.build({"t_min": 5}).t_min(SCHEDULE) == 5
    assert TimestepPolicy().t_min(SCHEDULE) == 500
    by_snr = TimestepPolicy.build({"snr": 0.382}).t_min(SCHEDULE)
    assert float(SCHEDULE.snr(by_snr)) <= 0.382 < float(SCHEDULE.snr(by_snr - 1))
    by_epsilon = TimestepPolicy.build({"epsilon": 33.0, "delta": 1e-5, "sensitivity": 8.0}).t_min(
        SCHEDULE
    )
    assert by_epsilon == pytest.approx(500, abs=5)


@pytest.mark.parametrize(
    ("t", "distance", "epsilon"),
    [(200, 1, 8.5), (500, 2, 5.6), (800, 8, 7.4), (999, 16, 4.9), (999, 1, 0.23)],
)
def test_guarantee_matches_the_gaussian_mechanism(t, distance, epsilon):
    policy = TimestepPolicy.build({"t_min": t, "sensitivity": distance})
    statement = policy.guarantee(1, SCHEDULE)
    assert statement.epsilon == pytest.approx(epsilon, rel=0.05)
    assert NOISE_TARGET in statement.voided_by


def test_a_weak_policy_has_no_epsilon():
    assert TimestepPolicy.build({"t_min": 5}).guarantee(5, SCHEDULE).epsilon == math.inf


def test_guarantee_composes_with_the_root_of_the_releases():
    policy = TimestepPolicy.build({"t_min": 800, "sensitivity": 2.0})
    stronger = TimestepPolicy.build({"t_min": 800, "sensitivity": 4.0})
    assert policy.guarantee(4, SCHEDULE).epsilon == pytest.approx(
        stronger.guarantee(1, SCHEDULE).epsilon, rel=1e-6
    )


def test_gaussian_mu_inverts_the_profile():
    mu = gaussian_mu(2.0, 1e-5)
    phi = torch.distributions.Normal(0.0, 1.0).cdf
    delta = phi(torch.tensor(-2.0 / mu + mu / 2)) - math.exp(2.0) * phi(
        torch.tensor(-2.0 / mu - mu / 2)
    )
    assert float(delta) == pytest.approx(1e-5, rel=0.05)


@pytest.mark.parametrize(
    "values",
    [
        {"t_min": 5, "snr": 1.0},
        {"t_min": -1},
        {"snr": 0},
        {"snr": "x"},
        {"unknown": 1},
        {"delta": 2},
    ],
)
def test_timestep_refuses_impossible_parameters(values):
    with pytest.raises(RequestError, match="timestep"):
        TimestepPolicy.build(values)


@pytest.mark.parametrize(
    "values", [{"t_min": 1000}, {"snr": 1e-4}, {"epsilon": 1e-3, "sensitivity": 100}]
)
def test_timestep_beyond_the_schedule_is_refused(values):
    with pytest.raises(RequestError, match="schedule"):
        TimestepPolicy.build(values).check(SCHEDULE, frozenset())


def test_timesteps_stay_in_range_and_cover_it():
    t = TimestepPolicy.build({"t_min": 990}).sample_timesteps(["r"] * 500, SCHEDULE, generator(0))
    assert set(t.tolist()) == set(range(990, 1000))


def test_activation_is_the_published_function_and_its_inverse_undoes_it():
    u = torch.linspace(-6, 6, 1001, dtype=torch.float64)
    published = u.abs() * (2 * torch.sigmoid(u) - 1)
    torch.testing.assert_close(activation(u), published)
    torch.testing.assert_close(inverse_activation(published), u, rtol=1e-9, atol=1e-7)
    assert bool((published.diff() >= 0).all())


def test_activation_halves_the_type_and_touches_control_features_alone():
    defense, u = Activation(), torch.randn(2, 4, 3, 3)
    assert defense.protect(CONTROL_FEATURES, u, context()).dtype == torch.float16
    assert defense.protect(NOISE_TARGET, u, context()) is u


def test_inverse_after_fp16_recovers_the_condition_latent():
    """The RMSE is about 1.8e-4 on unit-variance sums."""
    u = torch.randn(100_000, generator=generator(0)) * math.sqrt(2)
    error = inverse_activation(activation(u).half()).float() - u
    assert float(error.square().mean().sqrt()) < 4e-4


def test_prompt_nulls():
    states = torch.randn(2, 3, 4)
    zero, empty, learned = (
        PromptRetention.build({"null": n}) for n in ("zero", "empty", "learned")
    )
    assert float(zero.protect(PROMPT_EMBEDDING, states, context()).abs().max()) == 0
    assert float(empty.protect(PROMPT_EMBEDDING, states, context()).min()) == 7
    assert float(learned.protect(PROMPT_EMBEDDING, states, context()).abs().max()) == 0
    adapter = learned.server_adapter(torch.full((1, 3, 4), 7.0))
    assert adapter is not None
    assert float(adapter(PROMPT_EMBEDDING, torch.zeros(2, 3, 4)).detach().min()) == 7
    assert zero.server_adapter(states) is None
    assert zero.protect(CONTROL_FEATURES, states, context()) is states


def test_a_stack_applies_its_parts_in_order_and_keeps_their_hooks():
    class Double(Defense):
        name = "double"

        def protect(self, channel, tensor, context):
            return tensor * 2

    class Increment(Defense):
        name = "increment"

        def protect(self, channel, tensor, context):
            return tensor + 1

    one = torch.ones(1)
    assert (
        float(Compose.from_parts([Double(), Increment()]).protect(CONTROL_FEATURES, one, context()))
        == 3
    )
    assert (
        float(Compose.from_parts([Increment(), Double()]).protect(CONTROL_FEATURES, one, context()))
        == 4
    )
    stack = Compose.from_parts([TimestepPolicy.build({"t_min": 998}), Activation()])
    assert int(stack.sample_timesteps(["r"] * 50, SCHEDULE, generator(0)).min()) >= 998
    assert stack.guarantee(1, SCHEDULE) is not None
    assert [d.name for d in stack.flat()] == ["timestep", "activation"]


def test_two_timestep_policies_do_not_stack():
    with pytest.raises(RequestError, match="sample_timesteps"):
        Compose.from_parts([TimestepPolicy(), TimestepPolicy()])
