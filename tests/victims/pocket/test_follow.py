from pathlib import Path

import pytest
from PIL import Image

from bench.interfaces import Silent
from victims.pocket.follow import GRID_COLUMNS, FollowSettings, run, write_grid


@pytest.mark.slow
def test_a_control_network_is_trained_and_compared_with_none(tmp_path: Path) -> None:
    outcome = run(
        FollowSettings(records=16, held_out=GRID_COLUMNS, steps=3, sampler_steps=2), Silent()
    )
    assert len(outcome.losses) == 4  # whole epochs
    assert not outcome.samples[0.0].pixels.equal(outcome.samples[1.0].pixels)
    assert outcome.fidelity[0.0].keys() == outcome.fidelity[1.0].keys() >= {"condition_edge_f1"}
    write_grid(outcome, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (2 * 64 * GRID_COLUMNS, 2 * 64 * 4)
