"""Evidence of several releases, and what a denoiser makes of it, on latents whose posterior is
known.
"""

from __future__ import annotations

import pytest
import torch

from attacks.common.denoising import DiffusionPrior, Way, denoise
from attacks.common.evidence import Evidence, equivalent_timestep
from attacks.common.spectral_prior import Spectrum, dct, inverse_dct
from attacks.common.target_noise import target_variance
from attacks.common.timestep_estimation import likeliest_timesteps
from bench.interfaces import Denoiser, NoiseSchedule, generator
from tests.support.pocket import pocket_runner

SCHEDULE = NoiseSchedule.stable_diffusion()
V_SCHEDULE = NoiseSchedule(SCHEDULE.alphas_cumprod, "v_prediction")
N, SHAPE = 8, (4, 16, 16)
LATENTS = torch.randn(N, *SHAPE, generator=generator(1, "latents"))


class Ideal(Denoiser):
    """The exact posterior mean of the target under z0 ~ N(0, I): E[eps | x] = b x, E[v | x] = 0."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        self.schedule = schedule

    def predict(self, noisy, timesteps, states=None, pooled=None):
        if self.schedule.prediction == "v_prediction":
            return torch.zeros_like(noisy)
        return self.schedule.noise(timesteps) * noisy


def released(times, schedule=SCHEDULE, *, sigma=None, same_noise=False, seed=0, feature_noise=0.0):
    """Every record once for each of ``times``; rows run over the times within a record."""
    rng = generator(seed, "released")
    steps = torch.tensor(times).repeat(N)
    clean = LATENTS.repeat_interleave(len(times), 0)
    noise = torch.randn(clean.shape, generator=rng)
    if same_noise:
        noise = (
            noise.view(N, len(times), *SHAPE)[:, :1]
            .expand(-1, len(times), -1, -1, -1)
            .reshape(clean.shape)
        )
    noisy = schedule.add_noise(clean, noise, steps)
    noisy = noisy + feature_noise * torch.randn(noisy.shape, generator=rng)
    target = None
    if sigma is not None:
        target = schedule.target(clean, noise, steps) + sigma * torch.randn(
            clean.shape, generator=rng
        )
    spread = torch.full((len(steps),), feature_noise**2, dtype=torch.float64)
    evidence = Evidence(noisy, steps, schedule, spread, target, (sigma or 0.0) ** 2)
    return evidence, [list(range(i * len(times), (i + 1) * len(times))) for i in range(N)]


def nmse(evidence, groups, mode="tweedie"):
    latents, precision = evidence.fused(groups)
    prior = DiffusionPrior(Ideal(evidence.schedule), evidence.schedule)
    found = denoise(prior, latents, precision, Way(mode, samples=8), rng=generator(2), batch_size=3)
    return float((found - LATENTS).square().mean() / LATENTS.square().mean()), precision


def snr(t):
    return float(SCHEDULE.snr(t))


@pytest.mark.parametrize("schedule", [SCHEDULE, V_SCHEDULE], ids=["epsilon", "v"])
@pytest.mark.parametrize(
    ("times", "sigma", "total"),
    [
        ([500], None, snr(500)),
        ([500] * 6, None, 6 * snr(500)),
        ([300, 600, 900], None, snr(300) + snr(600) + snr(900)),
        ([500], 1.0, 2 * snr(500)),
        ([500] * 3, 2.0, 3 * snr(500) * 5 / 4),
    ],
)
def test_the_error_follows_the_sum_of_snr(schedule, times, sigma, total):
    """1 / (1 + S) under a Gaussian prior; noisy eps: S = SNR (1 + sigma^2) / sigma^2
    (7.17).
    """
    if schedule.prediction == "v_prediction" and sigma is not None:
        total = sum(
            snr(t) + (1 + snr(t)) / sigma**2 for t in times
        )  # v' measures z0 at variance b^2 sigma^2
    found, precision = nmse(*released(times, schedule, sigma=sigma))
    assert precision.tolist() == pytest.approx([total] * N, rel=1e-5)
    assert found == pytest.approx(1 / (1 + total), rel=0.06)


def test_more_releases_bring_the_error_down():
    found = [nmse(*released([700] * count))[0] for count in (1, 4, 16)]
    assert found[0] > found[1] > found[2]


def test_an_exact_target_gives_the_latent_at_every_timestep():
    for schedule in (SCHEDULE, V_SCHEDULE):
        for t in (0, 500, 999):
            assert nmse(*released([t], schedule, sigma=0.0))[0] < 1e-4


def test_noise_that_is_kept_counts_once():
    """Epochs with one (t, eps) add nothing; believing they do would start the denoiser at too small
    a t.
    """
    evidence, groups = released([500] * 6, same_noise=True)
    found, precision = nmse(evidence, groups)
    assert precision.tolist() == pytest.approx([snr(500)] * N, rel=1e-3)
    assert found == pytest.approx(1 / (1 + snr(500)), rel=0.06)


def test_one_noise_at_two_timesteps_gives_the_latent_away():
    """Two equations for two unknowns."""
    assert nmse(*released([500, 600], same_noise=True))[0] < 1e-3


def test_noise_on_the_features_is_part_of_the_noise():
    """Exact eps leaves the error sigma / a of the features' noise: precision is a^2 / sigma^2."""
    evidence, groups = released([500], sigma=0.0, feature_noise=0.3)
    _, precision = nmse(evidence, groups)
    assert precision.tolist() == pytest.approx(
        [float(SCHEDULE.alphas_cumprod[500]) / 0.09] * N, rel=1e-4
    )


@pytest.mark.parametrize("mode", ["ddim", "samples"])
def test_walks_end_near_the_posterior(mode):
    """A walk ends on a sample or a point of the prior's norm: at worst twice the least error, here
    with 20 steps.
    """
    found, precision = nmse(*released([400] * 2), mode)
    least = 1 / (1 + float(precision[0]))
    assert least * 0.9 < found < 2.2 * least


def test_the_equivalent_timestep_is_that_of_the_snr():
    steps = torch.tensor([0, 5, 500, 999])
    assert equivalent_timestep(SCHEDULE.snr(steps), SCHEDULE).tolist() == steps.tolist()
    assert equivalent_timestep(torch.tensor([1e9, 1e-9]).double(), SCHEDULE).tolist() == [0, 999]


def smooth(count, seed):
    """Latents with most power at low frequencies."""
    rows = torch.arange(16).view(-1, 1).square() + torch.arange(16).square()
    power = 4 / (1 + rows.float() / 4)
    return inverse_dct(
        power.sqrt() * torch.randn(count, *SHAPE, generator=generator(seed, "smooth"))
    )


def test_a_spectrum_is_learned_and_filters_better_than_a_flat_prior():
    torch.testing.assert_close(inverse_dct(dct(LATENTS)), LATENTS, atol=1e-5, rtol=0)
    prior, clean = Spectrum.fit(smooth(200, 1)), smooth(20, 2)
    noisy = clean + torch.randn(clean.shape, generator=generator(3))
    found = prior.wiener(noisy, torch.ones(20))
    flat = noisy * clean.var() / (clean.var() + 1)
    assert float((found - clean).square().mean()) < 0.8 * float((flat - clean).square().mean())


@pytest.mark.parametrize(("sigma", "within"), [(0.0, 10), (1.0, 40), (None, 60)])
def test_a_hidden_timestep_is_found(sigma, within):
    """Closely where eps is known, within some steps where noise must be told from the latent by its
    spectrum.
    """
    prior, clean = Spectrum.fit(smooth(200, 1)), smooth(12, 2)
    steps = torch.linspace(50, 900, 12).long()
    noise, eta = torch.randn(2, *clean.shape, generator=generator(4))
    target = None if sigma is None else noise + sigma * eta
    noisy = SCHEDULE.add_noise(clean, noise, steps)
    found = likeliest_timesteps(
        noisy, SCHEDULE, prior, target=target, target_variance=(sigma or 0.0) ** 2
    )
    assert float((found - steps).abs().float().mean()) < within


def test_noise_on_targets_of_an_unknown_defence_is_measured():
    noise = torch.randn(20, *SHAPE, generator=generator(5))
    assert target_variance(noise, None, SCHEDULE) == 0.0
    doubled = noise + 0.5 * torch.randn(noise.shape, generator=generator(6))
    assert target_variance(doubled, None, SCHEDULE) == pytest.approx(0.25, abs=0.05)
    assert target_variance(doubled, None, V_SCHEDULE) == 0.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Image rows on the embedded model."""
    run_cell = pocket_runner(
        tmp_path_factory.mktemp("pocket"),
        defense="published",
        withhold=("noise_target",),
        records=8,
        auxiliary=24,
        epochs=3,
        targets=8,
    )
    return lambda **changes: run_cell(**changes).rows[0]


@pytest.mark.slow
def test_fusion_and_prior_each_beat_what_closed_form_has(run):
    linear, alone, fused = (
        run(attack=name) for name in ("closed-form", "posterior:releases=1", "posterior")
    )
    assert fused["attack_releases_fused"] == 3.0
    assert fused["latent_nmse"] < alone["latent_nmse"] < linear["latent_nmse"]
    assert fused["latent_nmse"] < 1 / (1 + fused["attack_snr_total"]), (
        "the prior must do better than a flat one could"
    )
    assert fused["ssim"] > alone["ssim"] > linear["ssim"]


def test_an_exact_target_is_the_certificate(run):
    row = run(attack="posterior", defense="none", withhold=())
    assert row["ssim_normalized"] > 0.95
    assert str(row["certificate"]).startswith("image ssim")
    assert "certificate-missed" not in row["flags"]
