"""Known answers for leakage that needs no attack."""

from __future__ import annotations

import math

import pytest
import torch

from bench.cell.runner import Runner
from bench.interfaces import (
    CONTROL_FEATURES,
    NOISE_TARGET,
    TIMESTEP,
    UNET_FEATURES,
    Defense,
    NoiseSchedule,
    Silent,
    generator,
)
from bench.metrics.dependence import corrected_distance_correlation, distance_correlation
from bench.scoring.leakage import WireModel, dfil, leakage, squared_norm
from defenses.additive_noise import AdditiveNoise
from defenses.compose import Compose
from defenses.memoised_noise import MemoisedNoise
from defenses.nopeek import NoPeek
from defenses.send_latent import SendLatent
from defenses.withhold_noise import WithholdNoise
from victims.diffusion.parts.base import ModelParams
from victims.diffusion.split_controlnet import SplitControlNet

SCHEDULE = NoiseSchedule.stable_diffusion()


def draws(count: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(count, width, generator=generator(seed), dtype=torch.float64)


def test_distance_correlation_is_one_of_a_vector_and_its_rotation():
    x = draws(32, 5, 0)
    rotation = torch.linalg.qr(draws(5, 5, 1)).Q
    assert float(distance_correlation(x, 3 * x @ rotation + 1)) == pytest.approx(1.0, abs=1e-6)
    assert corrected_distance_correlation(x, 3 * x @ rotation + 1) == pytest.approx(1.0, abs=1e-6)


def test_the_correction_takes_away_what_width_alone_brings():
    """64 independent records of 2,000 numbers: the plain one says nearly 1."""
    x, y = draws(64, 2000, 2), draws(64, 2000, 3)
    assert float(distance_correlation(x, y)) > 0.9
    assert abs(corrected_distance_correlation(x, y)) < 0.05


def test_distance_correlation_of_four_points_by_hand():
    """x = 0, 1, 2, 3 against |x - 1.5| > 1: by the definition, number by number."""
    x, y = torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([[1.0], [0.0], [0.0], [1.0]])
    centred = []
    for v in (x, y):
        d = (v - v.T).abs()
        centred.append(d - d.mean(0) - d.mean(1, keepdim=True) + d.mean())
    expected = math.sqrt(
        float((centred[0] * centred[1]).mean())
        / math.sqrt(float(centred[0].square().mean() * centred[1].square().mean()))
    )
    assert float(distance_correlation(x, y)) == pytest.approx(expected, rel=1e-5)
    assert 0.3 < expected < 0.8, "a dependence without linear correlation"


def test_too_few_or_constant_records_have_no_correlation():
    assert math.isnan(corrected_distance_correlation(draws(3, 2, 0), draws(3, 2, 1)))
    assert math.isnan(corrected_distance_correlation(torch.ones(8, 2), draws(8, 2, 1)))


def test_nopeek_lowers_the_distance_correlation_of_what_it_trains():
    pictures = torch.rand(32, 3, 1, 1, generator=generator(0)).expand(-1, -1, 8, 8)
    weight = torch.randn(4, 3, 3, 3, generator=generator(1)).requires_grad_()
    noise = torch.randn(32, 4, 8, 8, generator=generator(2))
    optimizer = torch.optim.Adam([weight], lr=0.02)
    found = []
    for _ in range(40):
        features = torch.nn.functional.conv2d(pictures, weight, padding=1) + noise
        loss = NoPeek().client_loss({"condition": pictures}, {CONTROL_FEATURES: features})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found[0] > 0.9
    assert found[-1] < 0.85
    assert (
        NoPeek().client_loss({"condition": pictures}, {CONTROL_FEATURES: features.detach()}) is None
    )


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (1, 0), (5, 2)])
def test_the_norm_of_a_convolution_is_that_of_its_matrix(kernel, padding):
    conv = torch.nn.Conv2d(2, 3, kernel, padding=padding, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.randn(conv.weight.shape, generator=generator(0)))
        basis = torch.eye(2 * 4 * 6).view(-1, 2, 4, 6)
        columns = conv(basis)
    assert squared_norm(conv, (2, 4, 6)) == pytest.approx(
        float(columns.double().square().sum()), rel=1e-5
    )


def test_dfil_of_the_noising_process_is_its_snr_and_of_added_noise_the_classical_one():
    t = torch.tensor([500, 800])
    plain = WireModel(SCHEDULE, None, Defense())
    snr = float(SCHEDULE.snr(t).mean())
    assert dfil(plain, t, (4, 8, 8), 256, noise_known=False) == pytest.approx(snr)
    assert dfil(plain, t, (4, 8, 8), 256, noise_known=True) is None
    noise = WireModel(
        SCHEDULE, None, Compose.from_parts([SendLatent(), AdditiveNoise.build({"noise": 0.5})])
    )
    expected = float(SCHEDULE.alphas_cumprod[t].mean()) / 0.25  # J = a I, sigma = 0.5
    assert dfil(noise, t, (4, 8, 8), 256, noise_known=True) == pytest.approx(expected)
    assert dfil(noise, t, (4, 8, 8), 256, noise_known=False) == pytest.approx(min(expected, snr))


@pytest.fixture
def captured(tiny_model, records, plan, tmp_path):
    def train(defense):
        victim = SplitControlNet(ModelParams(model=str(tiny_model)))
        capture = victim.train(
            records,
            defense,
            plan,
            protocol="no-gradient",
            out=tmp_path / defense.name,
            progress=Silent(),
        )
        public = victim.public(defense, records, protocol="no-gradient", device="cpu")
        return capture, WireModel(public.schedule, public.stem, defense)

    return train


def test_leakage_of_a_capture(captured):
    class FixedReleases(Defense):
        name = "fixed"

        def sample_timesteps(self, record_ids, schedule, rng):
            return torch.full((len(record_ids),), 700)

    capture, known = captured(FixedReleases())
    found = leakage(capture, known)
    total = 2 * float(SCHEDULE.snr(700))  # two epochs
    assert found["leak_snr_mean"] == found["leak_snr_max"] == pytest.approx(total)
    assert found["leak_mu_max"] == pytest.approx(found["leak_mu_distance"] * math.sqrt(total))
    latents = capture.secrets.image_latents.double().flatten(1)
    assert 0 < found["leak_mu_distance"] <= float(torch.pdist(latents).max()) + 1e-9
    last = capture.transcript.releases(1)
    pictures = capture.secrets.records.conditions[capture.secrets.records_behind(last)]
    features = capture.transcript.rows(CONTROL_FEATURES, last)
    expected = corrected_distance_correlation(pictures.float(), features)
    assert found["leak_dcor_condition_control"] == pytest.approx(expected)
    assert {TIMESTEP, NOISE_TARGET, UNET_FEATURES} <= capture.transcript.channels()
    assert "leak_dfil" not in found, "the noise target is on the wire, so no noise is left"


def test_releases_that_are_all_the_same_count_once(captured):
    capture, known = captured(MemoisedNoise())
    releases = capture.transcript.releases()
    first, second = (
        capture.transcript.rows(TIMESTEP, [r for r in releases if r.epoch == e]) for e in (0, 1)
    )
    assert torch.equal(first.sort().values, second.sort().values)
    assert leakage(capture, known)["leak_snr_mean"] == pytest.approx(
        float(known.schedule.snr(first).mean())
    )


def test_a_returned_gradient_shows_the_noise_too(captured):
    capture, known = captured(WithholdNoise())
    assert "leak_dfil" not in leakage(capture, known)


@pytest.mark.slow
def test_a_row_says_what_its_wire_leaks(make_job, tmp_path):
    job = make_job(attack="closed-form", defense="additive-noise:noise=0.5")
    row = Runner(tmp_path, Silent()).run(job).rows[0]
    assert row["leak_dfil"] > 0
    assert row["leak_snr_max"] >= row["leak_snr_mean"] > 0
