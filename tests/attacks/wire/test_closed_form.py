"""The closed-form attack's algebra, on known answers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attacks.common.least_squares import invert_convolution, least_squares
from bench.interfaces import NoiseSchedule, NotApplicableError, generator
from bench.scoring.controls.images import image_controls
from bench.scoring.score import score_target


@pytest.mark.parametrize("channels", [6, 16, 64])
def test_inverting_a_convolution_is_exact(channels):
    """Also at 16 and 6 channels, where a 3x3 patch of 36 numbers is rank deficient."""
    with torch.random.fork_rng():
        torch.manual_seed(channels)
        conv = nn.Conv2d(4, channels, 3, padding=1)
    x = torch.randn(3, 4, 8, 8, generator=generator(1))
    found = invert_convolution(conv, conv(x).detach(), iterations=2000)
    torch.testing.assert_close(found, x, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("conv", "size"),
    [
        (nn.Conv2d(4, 20, 2, stride=2), 8),
        (nn.Conv2d(4, 24, 3, stride=2, padding=1), 8),
        (nn.Conv2d(4, 12, 3, padding=2, dilation=2, groups=2), 8),
        (nn.Conv2d(4, 12, 3), 8),
    ],
    ids=["patches", "stride", "groups", "unpadded"],
)
def test_other_convolutions_are_inverted_where_enough_comes_out(conv, size):
    x = torch.randn(2, 4, size, size, generator=generator(1))
    found = least_squares(conv, conv(x).detach(), iterations=3000)
    torch.testing.assert_close(found.inputs, x, rtol=1e-3, atol=1e-3)
    assert float(found.input_variance.max()) < 1e-6


def test_noise_on_the_features_is_measured_and_averaged_by_the_whole_map():
    """The estimate of the noise has no bias, and the one of what is left on x_t agrees with the
    error itself.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv = nn.Conv2d(4, 64, 3, padding=1)
    x = torch.randn(6, 4, 16, 16, generator=generator(1))
    features = conv(x).detach()
    noisy = features + 0.2 * torch.randn(features.shape, generator=generator(2))
    found = least_squares(conv, noisy)
    assert float(found.feature_variance.sqrt().mean()) == pytest.approx(0.2, rel=0.02)
    error = float((found.inputs - x).square().mean())
    assert float(found.input_variance.mean()) == pytest.approx(error, rel=0.1)
    centre = torch.linalg.pinv(conv.weight.detach().flatten(1))[
        4::9
    ]  # one patch alone, rows of the centre
    assert error < 0.5 * float((0.2 * centre).square().sum(1).mean())


def test_a_client_that_sends_the_latent_itself_needs_no_solving():
    x = torch.randn(2, 4, 8, 8, generator=generator(1))
    for stem in (
        nn.Identity(),
        nn.Conv2d(4, 16, 3, padding=1),
    ):  # the latter where nobody told of the defence
        found = least_squares(stem, x)
        assert torch.equal(found.inputs, x)
        assert float(found.input_variance.max()) == 0.0
    with pytest.raises(NotApplicableError, match="5 channels"):
        least_squares(nn.Conv2d(4, 16, 3, padding=1), torch.zeros(1, 5, 8, 8))


@pytest.mark.parametrize(
    "conv", [nn.Conv2d(4, 8, 3, stride=2), nn.Conv2d(4, 2, 3, padding=1), nn.Linear(4, 4)]
)
def test_other_first_layers_are_refused(conv):
    with pytest.raises(NotApplicableError):
        invert_convolution(conv, torch.zeros(1, 8, 4, 4))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("t", [0, 5, 500, 999])
def test_the_target_gives_the_latent_at_every_timestep(prediction, t):
    base = NoiseSchedule.stable_diffusion()
    schedule = NoiseSchedule(base.alphas_cumprod, prediction)
    z0, noise = torch.randn(2, 2, 4, 8, 8, generator=generator(2))
    steps = torch.full((2,), t)
    noisy = schedule.add_noise(z0, noise, steps)
    torch.testing.assert_close(
        schedule.clean(noisy, schedule.target(z0, noise, steps), steps), z0, rtol=1e-3, atol=1e-4
    )


def attack_scores(job, results):
    """Train, attack, and give the scores by target and metric."""
    from bench.interfaces import Budget, Capture, ImageBatch, ScoringContext, Silent
    from tests.property.test_non_interference import trained, view_of

    capture = Capture.open(trained(job, results))
    view = view_of(job, capture)
    claim = job.attack.run(view, rng=generator(0), budget=Budget(0, 8), progress=Silent())
    _, truth = capture.secrets.truth([view.releases[i] for i in view.targets])
    context = ScoringContext(
        gallery=ImageBatch.cat([truth["image"].images, job.splits.evaluation.image_batch()]),
        gallery_identities=(None,) * (len(truth["image"].images) + len(job.splits.evaluation)),
        calibration=job.splits.calibration.image_batch(),
        calibration_identities=job.splits.calibration.identities,
        backbones=job.backbones,
    )
    return {
        target: {
            score.metric: score
            for score in score_target(
                target,
                estimate,
                truth[target],
                image_controls(
                    target, truth[target], job.splits.auxiliary, view.public.codec, seed=0
                ),
                job.metrics,
                context,
                seed=0,
            )
        }
        for target, estimate in claim.estimates.items()
    }


@pytest.mark.parametrize(
    "defense",
    ["none", "timestep:t_min=5", "timestep:t_min=900", "activation", "prompt", "published"],
)
def test_published_defences_fall_to_the_round_trip(defense, make_job, tmp_path):
    scores = attack_scores(make_job(attack="closed-form", defense=defense), tmp_path)
    for target in ("image", "condition"):
        assert scores[target]["latent_nmse"].mean < 1e-4
        assert scores[target]["ssim"].mean == pytest.approx(
            scores[target]["ssim"].ceiling, abs=0.02
        )


def test_u_shaped_feedback_gives_the_noise_away(make_job, tmp_path):
    scores = attack_scores(make_job(attack="closed-form", protocol="u-shaped"), tmp_path)
    assert scores["image"]["latent_nmse"].mean < 1e-4
    assert "condition" not in scores


def test_withholding_the_noise_target_stops_the_image_but_not_the_condition(make_job, tmp_path):
    job = make_job(attack="closed-form", defense="timestep:t_min=900", withhold=("noise_target",))
    scores = attack_scores(job, tmp_path)
    assert scores["image"]["latent_nmse"].mean > 0.5
    assert scores["condition"]["latent_nmse"].mean < 1e-4


def test_a_withheld_timestep_is_estimated_from_the_noise(make_job, tmp_path):
    job = make_job(attack="closed-form", withhold=("timestep",))
    assert attack_scores(job, tmp_path)["image"]["latent_nmse"].mean < 0.1
