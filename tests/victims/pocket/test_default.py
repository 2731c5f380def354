"""The embedded model's default cell with few records: the attacks must recover the records."""

from __future__ import annotations

import pytest

from tests.support.pocket import pocket_runner


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return pocket_runner(
        tmp_path_factory.mktemp("pocket"),
        records=32,
        auxiliary=128,
        calibration=16,
        evaluation=16,
        epochs=1,
        targets=32,
    )


@pytest.mark.slow
def test_inversion_beats_every_control_outside_the_intervals(run):
    result = run(attack="inversion", iterations=150)
    for row in result.rows[:2]:
        assert row["ssim_low"] > max(row["ssim_mean"], row["ssim_random"], row["ssim_nearest"]), (
            row["target"]
        )
        assert row["latent_nmse_high"] < row["latent_nmse_nearest"]
        assert not row["flags"].replace("few-for-fid", "")


@pytest.mark.slow
def test_closed_form_reaches_the_round_trip_against_everything_published(run):
    for row in run(attack="closed-form", defense="published").rows[:2]:
        assert abs(row["ssim"] - row["ssim_ceiling"]) < 0.02
        assert row["ssim_normalized"] > 0.98


@pytest.mark.slow
def test_without_the_noise_target_the_image_no_longer_falls(run):
    image, condition, _ = run(
        attack="closed-form", defense="published", withhold=("noise_target",)
    ).rows
    assert image["ssim"] < image["ssim_ceiling"] - 0.2
    assert abs(condition["ssim"] - condition["ssim_ceiling"]) < 0.02
