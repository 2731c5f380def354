"""The examples of the documentation run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.mark.slow
def test_the_first_attack_finds_what_the_noise_target_gives_away(tmp_path: Path) -> None:
    script = ROOT / "docs" / "examples" / "first_attack.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert "TrainedVictim(split-controlnet, no-gradient, none, seed 0, 8 targets)" in text
    rows = [line.split() for line in text.splitlines()]
    known, withheld = (row for row in rows if row[:2] == ["image", "ssim"])
    value, floor, normalized = float(known[2]), float(known[3]), float(known[5])
    assert value > 0.85 > floor
    assert normalized > 0.99
    assert float(withheld[5]) < 0.5
    assert "| none | closed-form | 0.9" in text
    assert "closed-form 1 seed" in text
    assert (tmp_path / "results" / "first_attack" / "rows.csv").exists()
