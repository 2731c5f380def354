"""The pseudo client: whose features it comes to resemble, and where it does not apply."""

from __future__ import annotations

import pytest
import torch

from attacks.pseudo_networks import PseudoHint, mmd, pooled
from attacks.pseudo_training import Lab, Objective, Seen, match
from bench.progress import Silent
from bench.runner import Runner


def test_mmd_is_zero_for_equal_samples_and_grows_with_the_distance() -> None:
    rng = torch.Generator().manual_seed(0)
    sample = torch.randn(64, 4, generator=rng)
    assert float(mmd(sample, sample)) == pytest.approx(0.0, abs=1e-6)
    near, far = (float(mmd(sample, torch.randn(64, 4, generator=rng) + shift)) for shift in (0.0, 2.0))
    assert 0 <= near < 0.1 < far


def test_pooled_tells_level_and_spread_of_every_field() -> None:
    maps = torch.zeros(1, 1, 8, 8)
    maps[..., 0::2, :] = 2.0
    found = pooled(maps)
    assert found.shape == (1, 32)
    assert found[0, :16].tolist() == [1.0] * 16
    assert found[0, 16:].tolist() == pytest.approx([1.0] * 16)


@pytest.mark.parametrize(("mix", "drop"), [(0.5, 0.5), (0.0, 0.8)])
def test_a_pseudo_client_comes_to_resemble_the_victim(mix: float, drop: float) -> None:
    """Victim and attacker have other hints of one kind, and the victim's block other weights."""
    rng = torch.Generator().manual_seed(0)
    hints = torch.nn.functional.interpolate(torch.rand(64, 3, 4, 4, generator=rng).round(), size=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        with torch.no_grad():
            true = PseudoHint(6, 4, 12)(hints[:32])
            true = (true - true.mean((0, 2, 3), keepdim=True)) / true.std((0, 2, 3), keepdim=True)
        seen = Seen(true, {}, None)
        lab = Lab(None, hints[32:], PseudoHint(6, 4, 16), seen, 16, rng)  # type: ignore[arg-type]
        match(lab, Objective(mix, 0.0, 2e-3), 16, 120, lambda n: None)
    losses = lab.losses["match"]
    assert sum(losses[-10:]) < drop * sum(losses[:10])


@pytest.mark.parametrize("objective", ["fora", "sdar"])
def test_a_client_that_trains_is_attacked_to_the_end(objective: str, make_job, tmp_path) -> None:
    job = make_job(attack=f"pseudo-client:objective={objective}", protocol="gradient", iterations=8)
    rows = {str(row["target"]): row for row in Runner(tmp_path, Silent()).run(job).rows}
    assert [rows[t]["status"] for t in ("image", "condition")] == ["ok", "ok"], rows["image"]["reason"]
    assert "client_weights" not in str(rows["image"]["channels_read"])
    assert rows["image"]["attack_match_last"] > 0


def test_a_public_client_is_left_to_inversion(make_job, tmp_path) -> None:
    row = Runner(tmp_path, Silent()).run(make_job(attack="pseudo-client")).rows[0]
    assert row["status"] == "not_applicable"
    assert "inversion is the stronger attack" in str(row["reason"])
