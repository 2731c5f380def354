"""Known answers for the defences of smashed data."""

from __future__ import annotations

import math

import pytest
import torch

from bench.interfaces import (
    CLIENT_UPDATE,
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    NOISE_TARGET,
    UNET_FEATURES,
    NoiseSchedule,
    ProtectContext,
    RequestError,
    generator,
)
from defenses.additive_noise import AdditiveNoise
from defenses.compose import Compose
from defenses.gaussian_noise import GaussianNoise
from defenses.keyed_mixing import KeyedMixing, mix, secret_matrix
from defenses.laplace_noise import LaplaceNoise
from defenses.lowpass import Lowpass
from defenses.mixup import Mixup
from defenses.patch_shuffle import PatchShuffle
from defenses.quantise import Quantise
from defenses.randomised_response import RandomisedResponse
from defenses.topk import TopK

SCHEDULE = NoiseSchedule.stable_diffusion()
BOTH = (CONTROL_FEATURES, UNET_FEATURES)


def context(count: int = 2, phase: str = "training", secret: int = 0) -> ProtectContext:
    return ProtectContext(
        phase=phase,
        timesteps=torch.full((count,), 500),
        schedule=SCHEDULE,
        empty_prompt=torch.zeros(1, 2, 2),
        record_ids=tuple(f"r{i}" for i in range(count)),
        rng=generator(0, "test"),
        secret=secret,
    )


def maps(count: int = 2, channels: int = 4, size: int = 8) -> torch.Tensor:
    return torch.randn(count, channels, size, size, generator=generator(1))


@pytest.mark.parametrize(
    "kind",
    [
        GaussianNoise,
        LaplaceNoise,
        AdditiveNoise,
        RandomisedResponse,
        Quantise,
        TopK,
        Lowpass,
        KeyedMixing,
    ],
    ids=lambda kind: kind.name,
)
def test_they_act_on_the_given_channels_and_pass_the_gradient(kind):
    features = maps().requires_grad_()
    for where, touched in (("both", BOTH), ("control", BOTH[:1]), ("unet", BOTH[1:])):
        defense = kind.build({"where": where})
        for channel in (*BOTH, NOISE_TARGET):
            sent = defense.protect(channel, features, context())
            assert (sent is not features) == (channel in touched)
        sent = defense.protect(touched[0], features, context())
        (gradient,) = torch.autograd.grad(sent.square().sum(), features)
        assert float(gradient.abs().max()) > 0


def test_gaussian_noise_clips_and_has_the_stated_deviation():
    defense = GaussianNoise.build({"clip": 0.5, "multiplier": 0.02})
    features = torch.cat([10 * maps(1, 16, 32), torch.zeros(1, 16, 32, 32)])
    sent = defense.protect(UNET_FEATURES, features, context())
    size = 16 * 32 * 32
    deviation = 0.02 * 0.5 * math.sqrt(size)
    assert defense.added_noise(UNET_FEATURES, size) == pytest.approx(deviation)
    assert float(sent[1].std()) == pytest.approx(deviation, rel=0.02)
    quiet = GaussianNoise.build({"clip": 0.5, "multiplier": 1e-9}).protect(
        UNET_FEATURES, features, context()
    )
    assert float(quiet[0].norm()) == pytest.approx(0.5 * math.sqrt(size), rel=1e-4)
    assert GaussianNoise.build({"where": "control"}).added_noise(UNET_FEATURES, size) == 0.0


def test_gaussian_noise_by_epsilon_is_that_mechanism():
    one = GaussianNoise.build({"epsilon": 2.0, "where": "unet"})
    statement = one.guarantee(1, SCHEDULE)
    assert statement.epsilon == pytest.approx(2.0, rel=0.01)
    assert set(statement.voided_by) == {CONTROL_FEATURES, CLIENT_WEIGHTS, CLIENT_UPDATE}
    both = GaussianNoise.build({"multiplier": 2.0}).guarantee(4, SCHEDULE)
    single = GaussianNoise.build({"multiplier": 2.0 / math.sqrt(8), "where": "unet"}).guarantee(
        1, SCHEDULE
    )
    assert both.epsilon == pytest.approx(single.epsilon, rel=1e-6), (
        "two tensors, four releases: sqrt(8) mu"
    )
    with pytest.raises(RequestError, match="both"):
        GaussianNoise.build({"epsilon": 1.0, "multiplier": 1.0})


def test_a_target_that_holds_the_latent_voids_and_one_that_does_not_does_not():
    velocity = NoiseSchedule(SCHEDULE.alphas_cumprod, "v_prediction")
    defense = GaussianNoise.build({"multiplier": 4.0})
    assert NOISE_TARGET not in defense.guarantee(1, SCHEDULE).voided_by
    assert NOISE_TARGET in defense.guarantee(1, velocity).voided_by


def test_laplace_noise_has_the_stated_scale():
    defense = LaplaceNoise.build({"clip": 1.0, "epsilon": 4.0})
    sent = defense.protect(UNET_FEATURES, torch.zeros(1, 16, 64, 64), context(1))
    assert float(sent.abs().mean()) == pytest.approx(0.5, rel=0.02), "E|Laplace(b)| = b"
    assert float(sent.square().mean()) == pytest.approx(2 * 0.5**2, rel=0.04)
    assert abs(float(sent.mean())) < 0.01
    assert defense.guarantee(3, SCHEDULE).epsilon == pytest.approx(12.0)


@pytest.mark.parametrize(("kind", "ratio"), [("gaussian", 0.7979), ("laplace", 0.7071)])
def test_additive_noise_has_the_stated_deviation_and_no_guarantee(kind, ratio):
    defense = AdditiveNoise.build({"noise": 2.0, "kind": kind})
    sent = defense.protect(UNET_FEATURES, torch.zeros(1, 16, 64, 64), context(1))
    assert float(sent.std()) == pytest.approx(2.0, rel=0.02)
    assert float(sent.abs().mean()) == pytest.approx(2.0 * ratio, rel=0.02)
    assert defense.guarantee(1, SCHEDULE) is None


@pytest.mark.parametrize("levels", [2, 5])
def test_randomised_response_tells_the_truth_as_often_as_it_may(levels):
    defense = RandomisedResponse.build({"levels": levels, "clip": 1.0, "epsilon": 1.5})
    features = torch.full((1, 16, 64, 64), 0.99)
    sent = defense.protect(UNET_FEATURES, features, context(1))
    values, counts = sent.unique(return_counts=True)
    assert len(values) == levels
    share = counts / sent.numel()
    expected = math.exp(1.5) / (math.exp(1.5) + levels - 1)
    assert float(share[-1]) == pytest.approx(expected, abs=0.01)
    assert float((share[-1] / share[:-1]).log().max()) == pytest.approx(1.5, abs=0.1), (
        "the ratio is e^epsilon"
    )


def test_quantised_values_are_few_and_near():
    features = maps()
    for bits in (2, 4, 8):
        sent = Quantise.build({"bits": bits}).protect(CONTROL_FEATURES, features, context())
        assert all(len(row.unique()) <= 2**bits - 1 for row in sent)
        step = features.abs().flatten(1).amax(1) / (2 ** (bits - 1) - 1)
        assert bool(((sent - features).abs().flatten(1).amax(1) <= step / 2 + 1e-6).all())
    signs = Quantise.build({"bits": 1}).protect(CONTROL_FEATURES, features, context())
    assert torch.equal(signs.sign(), features.sign())
    assert (
        Quantise.build({"bits": 4}).protect(CONTROL_FEATURES, features.half(), context()).dtype
        == torch.float16
    )


def test_topk_keeps_the_largest_exactly():
    features = maps()
    sent = TopK.build({"keep": 0.25}).protect(CONTROL_FEATURES, features, context())
    for row, kept in zip(features, sent, strict=True):
        assert int((kept != 0).sum()) == row.numel() // 4
        assert torch.equal(kept[kept != 0], row[kept != 0])
        assert float(row[kept == 0].abs().max()) <= float(kept[kept != 0].abs().min())


def test_lowpass_passes_slow_waves_and_stops_fast_ones():
    x = torch.arange(16)
    slow, fast = (torch.cos(2 * math.pi * f * x / 16).expand(1, 1, 16, 16) for f in (2, 7))
    defense = Lowpass.build({"keep": 0.5})
    torch.testing.assert_close(
        defense.protect(UNET_FEATURES, slow + fast, context(1)), slow, atol=1e-5, rtol=0
    )
    everything = Lowpass.build({"keep": 1.0}).protect(UNET_FEATURES, slow + fast, context(1))
    torch.testing.assert_close(everything, slow + fast, atol=1e-5, rtol=0)


def test_patches_are_shuffled_alike_in_every_map_of_a_release_and_anew_in_the_next():
    defense, features = PatchShuffle.build({"patch": 4}), maps(2, 4, 16)
    shared = context()
    control, unet, target = (defense.protect(c, features, shared) for c in (*BOTH, NOISE_TARGET))
    assert torch.equal(control, unet)
    assert torch.equal(control, target)
    assert not torch.equal(control, features)
    squares = [
        m.unfold(2, 4, 4).unfold(3, 4, 4).flatten(2, 3).transpose(1, 2).flatten(2)
        for m in (features, control)
    ]
    for before, after in zip(*squares, strict=True):
        assert {tuple(s.tolist()) for s in before} == {tuple(s.tolist()) for s in after}
    other = context()
    other.rng.manual_seed(9)
    assert not torch.equal(defense.protect(UNET_FEATURES, features, other), unet)
    assert defense.protect(CONTROL_FEATURES, features, context(phase="inference")) is features
    untouched = PatchShuffle.build({"target": False}).protect(NOISE_TARGET, features, shared)
    assert untouched is features


def test_mixup_mixes_all_of_two_records_by_one_weight_of_at_least_a_half():
    private = {
        "image_latents": torch.eye(3).view(3, 3, 1, 1),
        "condition_latents": 2 * torch.eye(3).view(3, 3, 1, 1),
        "condition": torch.eye(3).view(3, 3, 1, 1),
        "text": torch.eye(3).view(3, 1, 3),
    }
    mixed = Mixup().prepare(private, generator(0))
    weights = mixed["image_latents"].view(3, 3)
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    assert bool((weights.diagonal() >= 0.5).all())
    assert bool(((weights > 0).sum(1) == 2).all())
    torch.testing.assert_close(mixed["condition_latents"].view(3, 3), 2 * weights)
    torch.testing.assert_close(mixed["text"].view(3, 3), weights)
    alone = {name: tensor[:1] for name, tensor in private.items()}
    assert Mixup().prepare(alone, generator(0)) is alone


def test_a_stack_with_mixup_states_no_guarantee():
    noise = GaussianNoise.build({"multiplier": 4.0})
    assert Compose.from_parts([noise]).guarantee(1, SCHEDULE) is not None
    assert Compose.from_parts([noise, Mixup()]).guarantee(1, SCHEDULE) is None


def test_keyed_mixing_is_undone_by_the_inverse_and_by_no_other_secret():
    defense, features = KeyedMixing(), maps(2, 16)
    sent = defense.protect(UNET_FEATURES, features, context(secret=7))
    matrix = secret_matrix(7, UNET_FEATURES, 4)
    torch.testing.assert_close(mix(sent, matrix.T), features, atol=1e-5, rtol=0)
    assert not torch.allclose(mix(sent, secret_matrix(0, UNET_FEATURES, 4).T), features, atol=0.1)
    adapter = defense.server_adapter(torch.zeros(1, 2, 2))
    assert torch.equal(adapter(UNET_FEATURES, sent), sent), "starts as the identity"
    with torch.no_grad():
        adapter.matrices[UNET_FEATURES].copy_(matrix.T)
    torch.testing.assert_close(adapter(UNET_FEATURES, sent), features, atol=1e-5, rtol=0)
    with pytest.raises(RequestError, match="divide"):
        KeyedMixing.build({"group": 3}).protect(UNET_FEATURES, features, context())
