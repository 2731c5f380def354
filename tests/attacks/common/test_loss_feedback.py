"""Feedback of a client that keeps the loss as measurements of eps: the error is what the algebra
says it is.
"""

from __future__ import annotations

import math

import pytest
import torch

from attacks.common.evidence import Evidence
from attacks.common.loss_feedback import from_clipped, from_projection, from_signs
from bench.interfaces import LOSS_GRADIENT, NoiseSchedule, ProtectContext, generator
from defenses.withhold_noise import WithholdNoise

SCHEDULE = NoiseSchedule.stable_diffusion()
N, SHAPE, SIZE = 24, (4, 16, 16), 1024
LOSS = 0.4


def sent(seed=0, **params):
    """eps, eps_hat = E[eps | something] of error variance ``LOSS``, and what the defence makes of d
    = eps_hat - eps.
    """
    rng = generator(seed, "feedback")
    prediction = math.sqrt(1 - LOSS) * torch.randn(N, *SHAPE, generator=rng)
    eps = prediction + math.sqrt(LOSS) * torch.randn(N, *SHAPE, generator=rng)
    unit = 2 / eps.numel()
    context = ProtectContext(
        "training",
        torch.zeros(N, dtype=torch.long),
        SCHEDULE,
        torch.zeros(1, 1, 1),
        [str(i) for i in range(N)],
        rng,
    )
    gradient = WithholdNoise(WithholdNoise.Params(**params)).protect(
        LOSS_GRADIENT, unit * (prediction - eps), context
    )
    return eps, prediction, gradient / unit


def error(found, eps):
    return float((found.values - eps).square().mean())


def test_a_sign_is_a_target_of_known_noise() -> None:
    eps, prediction, back = sent(feedback="sign")
    found = from_signs(prediction, back)
    assert error(found, eps) == pytest.approx(LOSS * (math.pi / 2 - 1), rel=0.03)
    assert float(found.variance.mean()) == pytest.approx(error(found, eps), rel=0.03)
    zeta = found.values - eps
    assert abs(float((zeta * (prediction - eps)).mean())) < 0.02 * LOSS, (
        "not correlated with eps given eps_hat"
    )
    together = (prediction / LOSS + found.values / found.variance.view(-1, 1, 1, 1)) / (
        1 / LOSS + 1 / found.variance
    ).view(-1, 1, 1, 1)
    assert float((together - eps).square().mean()) == pytest.approx(
        LOSS * (1 - 2 / math.pi), rel=0.03
    )


@pytest.mark.slow
@pytest.mark.parametrize("directions", [64, 512, 1024])
def test_a_projection_leaves_the_share_that_is_not_sent(directions) -> None:
    """The basis is not sent, yet together with eps_hat the error is tau^2 (1 - k / n), as if it
    were.
    """
    eps, prediction, back = sent(feedback="project", directions=directions)
    found = from_projection(prediction, back, directions)
    expected = LOSS * (SIZE / directions - 1)
    assert error(found, eps) == pytest.approx(expected, rel=0.1, abs=1e-6)
    assert float(found.variance.mean()) == pytest.approx(expected, rel=0.1, abs=1e-6)
    share = directions / SIZE
    together = prediction + share * (found.values - prediction)
    assert float((together - eps).square().mean()) == pytest.approx(
        LOSS * (1 - share), rel=0.05, abs=1e-6
    )


def test_a_gradient_that_clipping_leaves_alone_is_exact() -> None:
    eps, prediction, back = sent(feedback="clip-noise", noise=0.0, clip=1.0)
    found = from_clipped(prediction, back, 1.0, 0.0)
    assert error(found, eps) < 1e-10
    assert float(found.variance.max()) == 0


def test_the_scale_of_a_clipped_gradient_is_found_from_the_noise_being_normal() -> None:
    """Clipping to a tenth hides the length alone, and eps must have mean square 1: the error is 1 /
    (2 n) or so.
    """
    eps, prediction, back = sent(feedback="clip-noise", noise=0.0, clip=0.1)
    found = from_clipped(prediction, back, 0.1, 0.0)
    assert error(found, eps) < 4 / (2 * SIZE * LOSS)
    assert error(found, eps) == pytest.approx(float(found.variance.mean()), rel=0.8)


@pytest.mark.parametrize(("clip", "noise"), [(1.0, 0.01), (0.3, 0.01), (1.0, 1.0)])
def test_noise_on_a_clipped_gradient_is_accounted_for(clip, noise) -> None:
    eps, prediction, back = sent(feedback="clip-noise", noise=noise, clip=clip)
    found = from_clipped(prediction, back, clip, noise)
    assert error(found, eps) == pytest.approx(float(found.variance.mean()), rel=0.25)


def test_evidence_takes_a_variance_for_each_release() -> None:
    latents, noise, eta = torch.randn(3, 2, *SHAPE, generator=generator(3))
    times, variance = torch.tensor([500, 500]), torch.tensor([0.5, 4.0], dtype=torch.float64)
    noisy = SCHEDULE.add_noise(latents, noise, times)
    target = noise + variance.sqrt().float().view(-1, 1, 1, 1) * eta
    found, precision = Evidence(noisy, times, SCHEDULE, torch.zeros(2), target, variance).alone()
    assert precision.tolist() == pytest.approx(
        (SCHEDULE.snr(500) * (1 + 1 / variance)).tolist(), rel=1e-5
    )
    spread = (found - latents).square().mean((1, 2, 3))
    assert spread.tolist() == pytest.approx((1 / precision).tolist(), rel=0.15)
