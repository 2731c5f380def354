"""The condition behind noise of its own: releases add up unless their noise is kept, and a prior
helps.
"""

from __future__ import annotations

import pytest
import torch

from attacks.common.spectral_prior import Spectrum
from attacks.wire.parts.condition_posterior import ConditionEvidence
from attacks.wire.parts.patch_prior import PatchPrior
from bench.interfaces import generator
from tests.support.pocket import pocket_runner

SHAPE = (4, 16, 16)


def releases(b, count, *, kept=False):
    rng = generator(1, "conditions")
    clean = torch.randn(6, *SHAPE, generator=rng)
    noise = torch.randn(6, 1 if kept else count, *SHAPE, generator=rng).expand(
        -1, count, -1, -1, -1
    )
    latents = (clean.unsqueeze(1) + b * noise).flatten(0, 1)
    variance = torch.full((6 * count,), b**2, dtype=torch.float64)
    groups = [list(range(i * count, (i + 1) * count)) for i in range(6)]
    found, precision = ConditionEvidence(latents, variance).fused(groups)
    return float((found - clean).square().mean()), precision


@pytest.mark.parametrize("b", [0.5, 2.0])
def test_fresh_noise_averages_away_and_kept_noise_does_not(b) -> None:
    for count, kept, expected in [(1, False, b**2), (4, False, b**2 / 4), (4, True, b**2)]:
        found, precision = releases(b, count, kept=kept)
        assert found == pytest.approx(expected, rel=0.06)
        assert (1 / precision).tolist() == pytest.approx([expected] * 6, rel=1e-6)


def lines(count, seed):
    """Straight edges, upright or level: few patches, all frequencies."""
    rng = generator(seed, "lines")
    maps = torch.full((count, 4, 16, 16), -1.0)
    for row in maps:
        for _ in range(3):
            at = int(torch.randint(16, (1,), generator=rng))
            if float(torch.rand((), generator=rng)) < 0.5:
                row[:, at] = 1.0
            else:
                row[:, :, at] = 1.0
    return maps


@pytest.mark.parametrize("b", [1.0, 2.0])
def test_patches_know_edges_better_than_a_spectrum_does(b) -> None:
    known, clean = lines(32, 1), lines(6, 2)
    noisy = clean + b * torch.randn(clean.shape, generator=generator(3))
    precision = torch.full((6,), 1 / b**2, dtype=torch.float64)
    by_patches = PatchPrior.fit(known, generator(4)).clean(noisy, precision)
    by_spectrum = Spectrum.fit(known).wiener(noisy, precision)
    assert float((by_patches - clean).square().mean()) < 0.5 * float(
        (by_spectrum - clean).square().mean()
    )


def test_patches_do_not_spoil_what_is_nearly_exact() -> None:
    """Latents that are no examples, at little noise: the nearest example would be further off than
    the noise is.
    """
    known, clean = torch.randn(2, 16, *SHAPE, generator=generator(5))
    noisy = clean[:3] + 0.01 * torch.randn(3, *SHAPE, generator=generator(6))
    found = PatchPrior.fit(known, generator(4)).clean(noisy, torch.full((3,), 1e4))
    assert float((found - clean[:3]).square().mean()) < 1.05e-4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Condition rows on the embedded model."""
    run_cell = pocket_runner(
        tmp_path_factory.mktemp("pocket"),
        records=8,
        auxiliary=32,
        epochs=3,
        targets=8,
    )
    return lambda **changes: run_cell(**changes).rows[1]


@pytest.mark.slow
def test_epochs_and_prior_each_beat_the_linear_estimate(run) -> None:
    linear, alone, fused = (
        run(attack=name, defense="decoupled-noise:b=1")
        for name in ("closed-form", "posterior:releases=1", "posterior")
    )
    assert linear["target"] == fused["target"] == "condition"
    assert fused["attack_releases_fused"] == 3.0
    assert fused["latent_nmse"] < 0.9 * alone["latent_nmse"]
    assert alone["latent_nmse"] < 0.8 * linear["latent_nmse"]
    kept = run(attack="posterior", defense="decoupled-noise:b=1,memoised=true")
    assert kept["latent_nmse"] > 0.8 * alone["latent_nmse"], "memoised noise adds nothing"


@pytest.mark.slow
def test_without_noise_the_condition_is_read(run) -> None:
    exact = run(attack="posterior", defense="published")
    assert exact["latent_nmse"] < 1e-6
