"""Known answers for defences of timesteps, noise and noise targets."""

from __future__ import annotations

import math

import pytest
import torch

from bench.interfaces import (
    CLIENT_UPDATE,
    LOSS_GRADIENT,
    NOISE_TARGET,
    PREDICTION_DOWN,
    NoiseSchedule,
    ProtectContext,
    RequestError,
    generator,
)
from defenses.compose import Compose
from defenses.memoised_noise import MemoisedNoise
from defenses.noisy_target import NoisyTarget
from defenses.snr_budget import SnrBudget
from defenses.timestep import TimestepPolicy
from defenses.withhold_noise import WithholdNoise

SCHEDULE = NoiseSchedule.stable_diffusion()
MANY = [f"r{i}" for i in range(4000)]


def context(count: int = 2, t: int = 500, secret: int = 3) -> ProtectContext:
    return ProtectContext(
        phase="training",
        timesteps=torch.full((count,), t),
        schedule=SCHEDULE,
        empty_prompt=torch.zeros(1, 2, 2),
        record_ids=tuple(f"r{i}" for i in range(count)),
        rng=generator(0, "test"),
        secret=secret,
    )


# Timesteps.


def test_logit_normal_timesteps_are_cut_at_t_min_and_follow_the_law():
    policy = TimestepPolicy.build(
        {"t_min": 300, "distribution": "logit-normal", "mean": 0.0, "std": 1.0}
    )
    t = policy.sample_timesteps(MANY, SCHEDULE, generator(0))
    assert int(t.min()) >= 300
    phi = torch.distributions.Normal(0.0, 1.0).cdf
    low = phi(torch.tensor(math.log(0.3 / 0.7)))
    expected = (phi(torch.tensor(0.0)) - low) / (1 - low)  # P(t < 500 | t >= 300)
    assert float((t < 500).float().mean()) == pytest.approx(float(expected), abs=0.025)
    whole = TimestepPolicy.build({"t_min": 0, "distribution": "logit-normal"})
    assert int(whole.sample_timesteps(MANY, SCHEDULE, generator(0)).max()) < SCHEDULE.steps


def test_a_linear_schedule_turns_a_budget_into_another_timestep():
    """The noisier its betas, the sooner the reading reaches the signal-to-noise ratio."""
    mild, strong = (
        TimestepPolicy.build({"snr": 0.1, "beta0": 1e-4, "k": k}).t_min(SCHEDULE)
        for k in (1e-5, 4e-5)
    )
    assert strong < mild
    betas = 1e-4 + 1e-5 * torch.arange(1000, dtype=torch.float64)
    abar = torch.cumprod(1 - betas, 0)
    assert (
        float(abar[mild] / (1 - abar[mild])) <= 0.1 < float(abar[mild - 1] / (1 - abar[mild - 1]))
    )


@pytest.mark.parametrize(
    "values", [{"k": 1e-5}, {"k": 1e-5, "beta0": 1e-4}, {"k": 1e-5, "beta0": 1e-4, "t_min": 5}]
)
def test_a_linear_schedule_needs_both_numbers_and_something_to_turn(values):
    with pytest.raises(RequestError, match="beta0"):
        TimestepPolicy.build(values)
    too_steep = TimestepPolicy.build({"snr": 0.1, "beta0": 0.1, "k": 0.01})
    with pytest.raises(RequestError, match="reaches"):
        too_steep.check(SCHEDULE, frozenset())


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_record_never_spends_more_than_its_budget_before_it_retires(share):
    policy, rng = SnrBudget.build({"budget": 0.5, "share": share}), generator(1)
    last = float(SCHEDULE.snr(999))
    times = torch.stack([policy.sample_timesteps(["a", "b"], SCHEDULE, rng) for _ in range(60)])
    total = SCHEDULE.snr(times.flatten()).view_as(times).sum(0)
    assert bool((total <= 0.5 + 60 * last).all())
    assert bool((total > 0.4).all()), "a record did not spend its budget"
    assert times[-1].tolist() == [999, 999]
    assert int(times.min()) >= policy.first_timestep(SCHEDULE)
    fresh = policy.sample_timesteps(["c"] * 1, SCHEDULE, generator(0))
    assert int(fresh) < 999, "another record has a budget of its own"


def test_a_spent_budget_is_below_the_schedules_end_and_its_guarantee_counts_the_tail():
    tiny = SnrBudget.build({"budget": 1e-6})
    assert tiny.sample_timesteps(["a"], SCHEDULE, generator(0)).tolist() == [999]
    one = SnrBudget.build({"budget": 0.05, "sensitivity": 1.0}).guarantee(10, SCHEDULE)
    assert one.mu == pytest.approx(math.sqrt(0.05 + 10 * float(SCHEDULE.snr(999))))


# Noise.


def test_memoised_draws_belong_to_the_record():
    policy, times, noise = MemoisedNoise(), generator(1), generator(2)
    first = (
        policy.sample_timesteps(["a", "b"], SCHEDULE, times),
        policy.sample_noise(["a", "b"], (2, 4, 8, 8), noise),
    )
    again = (
        policy.sample_timesteps(["b", "a"], SCHEDULE, times),
        policy.sample_noise(["b", "a"], (2, 4, 8, 8), noise),
    )
    for before, after in zip(first, again, strict=True):
        assert torch.equal(before, after.flip(0))
    other = MemoisedNoise().sample_noise(["a", "b"], (2, 4, 8, 8), generator(3))
    assert not torch.equal(other, first[1])
    spread = MemoisedNoise.build({"t_min": 700}).sample_timesteps(MANY, SCHEDULE, generator(0))
    assert int(spread.min()) >= 700
    assert len(spread.unique()) > 250


def test_memoised_releases_count_once():
    policy = MemoisedNoise.build({"t_min": 800, "sensitivity": 2.0})
    assert policy.guarantee(50, SCHEDULE).epsilon == policy.guarantee(1, SCHEDULE).epsilon
    assert policy.guarantee(1, SCHEDULE).epsilon == pytest.approx(1.5, rel=0.05)


@pytest.mark.parametrize("memoised", [False, True])
def test_noisy_targets_have_the_stated_noise(memoised):
    defense = NoisyTarget.build({"sigma": 2.0, "memoised": memoised})
    target = torch.zeros(2, 4, 32, 32)
    first, second = (defense.protect(NOISE_TARGET, target, shared) for shared in [context()] * 2)
    assert float(first.std()) == pytest.approx(2.0, rel=0.02)
    assert torch.equal(first, second) == memoised
    if memoised:
        assert not torch.equal(first, defense.protect(NOISE_TARGET, target, context(t=501))), (
            "never one eta at two t"
        )
        assert not torch.equal(first, defense.protect(NOISE_TARGET, target, context(secret=4)))


@pytest.mark.parametrize(("sigma", "effective"), [(1.0, 0.76), (2.0, 0.48)])
def test_the_best_linear_estimate_behind_a_noisy_target_has_the_stated_snr(sigma, effective):
    """The noisy target at t = 500, by least squares on made-up latents."""
    rng = generator(0)
    z0, eps, eta = (torch.randn(2_000_000, generator=rng, dtype=torch.float64) for _ in range(3))
    abar = float(SCHEDULE.alphas_cumprod[500])
    x = math.sqrt(abar) * z0 + math.sqrt(1 - abar) * eps
    seen = torch.stack([x, eps + sigma * eta], 1)
    estimate = seen @ torch.linalg.lstsq(seen, z0.unsqueeze(1)).solution.squeeze(1)
    error = float((estimate - z0).square().mean())
    assert 1 / error - 1 == pytest.approx(effective, rel=0.03), "posterior precision is 1 + SNR"


# Statements about stacks.


def test_a_noisy_target_gives_a_timestep_policy_its_statement_back_at_a_price():
    policy = TimestepPolicy.build({"t_min": 800, "sensitivity": 2.0})
    alone = policy.guarantee(4, SCHEDULE)
    stack = Compose.from_parts([policy, NoisyTarget.build({"sigma": 1.0})])
    statement = stack.guarantee(4, SCHEDULE)
    assert NOISE_TARGET in alone.voided_by
    assert statement.voided_by == (CLIENT_UPDATE,)
    assert statement.mu == pytest.approx(alone.mu * math.sqrt(2))
    assert statement.epsilon > alone.epsilon
    feedback = Compose.from_parts(
        [policy, WithholdNoise.build({"feedback": "noise", "noise": 1.0})]
    )
    assert feedback.guarantee(4, SCHEDULE) == statement
    plain = Compose.from_parts([policy, WithholdNoise()]).guarantee(4, SCHEDULE)
    assert PREDICTION_DOWN in plain.voided_by
    velocity = NoiseSchedule(SCHEDULE.alphas_cumprod, "v_prediction")
    assert NOISE_TARGET in stack.guarantee(4, velocity).voided_by


def test_fresh_noise_on_a_memoised_target_wears_off():
    memoised = MemoisedNoise.build({"t_min": 800, "sensitivity": 2.0})
    fresh, kept = (
        Compose.from_parts([memoised, NoisyTarget.build({"memoised": flag})]).guarantee(9, SCHEDULE)
        for flag in (False, True)
    )
    alone = memoised.guarantee(9, SCHEDULE)
    assert fresh.mu == pytest.approx(alone.mu * math.sqrt(10))
    assert kept.mu == pytest.approx(alone.mu * math.sqrt(2))


# Feedback.


def feedback(values: dict[str, object], batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    gradient = torch.randn(batch, 4, 8, 8, generator=generator(4)) * 2 / (batch * 256)
    return gradient, WithholdNoise.build(values).protect(LOSS_GRADIENT, gradient, context(batch))


def test_noised_feedback_is_the_noisy_target_of_the_same_sigma():
    gradient, sent = feedback({"feedback": "noise", "noise": 3.0}, batch=64)
    size = gradient.numel()
    assert float(((gradient - sent) * size / 2).std()) == pytest.approx(3.0, rel=0.05)


def test_clipped_feedback_has_bounded_norm():
    gradient, sent = feedback({"feedback": "clip-noise", "clip": 0.1, "noise": 0.0})
    limit = 0.1 * math.sqrt(256) * 2 / gradient.numel()
    assert sent.flatten(1).norm(dim=1).tolist() == pytest.approx([limit, limit], rel=1e-4)
    torch.testing.assert_close(
        torch.nn.functional.cosine_similarity(sent.flatten(1), gradient.flatten(1)), torch.ones(2)
    )


def test_projected_feedback_has_the_stated_rank_and_is_unbiased():
    gradient, sent = feedback({"feedback": "project", "directions": 16})
    shrunk = sent * 16 / 256  # the orthogonal projection itself
    assert float(((gradient - shrunk) * shrunk).sum().abs()) < 1e-6
    assert float((shrunk.norm() / gradient.norm()) ** 2) == pytest.approx(16 / 256, rel=0.5)
    _, whole = feedback({"feedback": "project", "directions": 256})
    torch.testing.assert_close(whole, gradient, atol=1e-6, rtol=1e-3)


def test_plain_feedback_is_untouched_and_signs_are_signs():
    gradient, sent = feedback({})
    assert sent is gradient
    gradient, sent = feedback({"feedback": "sign"})
    assert torch.equal(sent.sign(), gradient.sign())
    torch.testing.assert_close(sent.abs().flatten(1).mean(1), gradient.abs().flatten(1).mean(1))
