"""A third-party package: installed with pip, found, described and run, without a change here."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent / "example"
NAMES = {
    "attacks": "toy-linear",
    "defenses": "toy-noise",
    "victims": "toy-split",
    "metrics": "toy-mae",
    "datasets": "toy-stripes",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed; built from a copy, since pip leaves files beside the
    source.
    """
    root = tmp_path_factory.mktemp("stranger")
    source = shutil.copytree(EXAMPLE, root / "source", ignore=shutil.ignore_patterns("__pycache__"))
    options = [
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--disable-pip-version-check",
        "--quiet",
    ]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *options,
        "--target",
        str(root / "site"),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    return root / "site"


def python(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh Python that has the stranger's package, run outside the repository."""
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200", "OMP_NUM_THREADS": "2"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=site.parent,
        env=environment,
    )


def bench(site: Path, *arguments: str) -> str:
    """Standard output of a ``bench`` command that must succeed."""
    done = python(site, "-m", "bench", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_kind_is_listed_with_its_origin(site: Path) -> None:
    listed = bench(site, "ls")
    for kind, name in NAMES.items():
        section = listed.split(f"{kind}\n")[1].split("\n")
        (line,) = (line for line in section if line.split()[:1] == [name])
        assert line.endswith("of leaktoy 0.2.0"), line
        assert "leaktoy." in line
    assert "attacks.wire.closed_form:ClosedForm of splitleak" in listed


def test_listing_imports_neither_torch_nor_the_plugins(site: Path) -> None:
    script = (
        "import sys; from bench.cli.main import main; main(['ls'], standalone_mode=False); "
        "heavy = {'torch', 'leaktoy', 'attacks', 'diffusers'}; "
        "print(sorted({m.partition('.')[0] for m in sys.modules} & heavy))"
    )
    done = python(site, "-c", script)
    assert done.returncode == 0, done.stderr
    assert "toy-linear" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_foreign_attack_is_described_from_its_card(site: Path) -> None:
    text = bench(site, "describe", "toy-linear")
    assert "attack toy-linear" in text
    assert "Ridge regression from a feature map" in text
    assert "leaktoy.attack:ToyLinear of leaktoy 0.2.0" in text
    assert "ridge (float, default 0.001)" in text


@pytest.mark.slow
def test_a_whole_run_of_foreign_plugins(site: Path) -> None:
    results = site.parent / "results"
    bench(
        site,
        *[
            "run",
            "--victim",
            "toy-split",
            "--data",
            "toy-stripes",
            "--attack",
            "toy-linear",
            "--results",
            str(results),
        ],
        *[
            "--defense",
            "none",
            "--defense",
            "toy-noise:sigma=2",
            "--image-size",
            "32",
            "--backbones",
            "embedded",
        ],
        *["--records", "12", "--auxiliary", "24", "--calibration", "8", "--evaluation", "2"],
        *[
            "--epochs",
            "2",
            "--batch-size",
            "4",
            "--targets",
            "6",
            "--utility-steps",
            "1",
            "--device",
            "cpu",
        ],
    )
    with (results / "rows.csv").open() as stream:
        rows = {(row["defense"], row["target"]): row for row in csv.DictReader(stream)}
    plain, noised = rows["none", "image"], rows["toy-noise:sigma=2.0", "image"]
    for row in (plain, noised):
        assert row["status"] == "ok"
        assert (row["victim"], row["attack"]) == ("toy-split", "toy-linear")
        assert row["channels_read"] == "toy_features"
        assert float(row["toy-mae_low"]) <= float(row["toy-mae"]) <= float(row["toy-mae_high"])
        assert float(row["toy-mae_ceiling"]) <= float(row["toy-mae"])
    # Least squares on public weights must find the pooled picture, and noise must cost it
    # something.
    assert float(plain["toy-mae_normalized"]) > 0.5
    assert float(noised["toy-mae_normalized"]) < float(plain["toy-mae_normalized"]) - 0.2
    assert rows["none", "condition"]["status"] == "not_claimed"


TRIVIAL = ("toy-doubled", "toy-renamed", "toy-turned")
"""Defences of the package that hide nothing, and state nothing."""


@pytest.fixture(scope="module")
def trivial(site: Path) -> Path:
    """Results of the undefended victim, the trivial defences and the sealed one."""
    results = site.parent / "trivial"
    defenses = [word for name in ("none", *TRIVIAL, "toy-sealed") for word in ("--defense", name)]
    command = (
        "run --attack closed-form --records 8 --auxiliary 8 --calibration 8 --evaluation 8 "
        "--epochs 1 --batch-size 4 --targets 8 --utility-steps 1 "
        f"--backbones embedded --device cpu --results {results}"
    )
    bench(site, *command.split(), *defenses)
    bench(site, "leaderboard", "--results", str(results))
    return results


def table(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file that are of the target ``condition``."""
    with file.open() as stream:
        return [row for row in csv.DictReader(stream) if row["target"] == "condition"]


@pytest.mark.slow
def test_trivial_defences_without_hooks_come_out_unprotected(trivial: Path) -> None:
    rows = [row for row in table(trivial / "rows.csv") if row["defense"] in TRIVIAL]
    assert len(rows) == len(TRIVIAL)
    for row in rows:
        assert row["status"] == "ok"
        assert float(row["ssim_normalized"]) >= 0.95, row["defense"]
        assert float(row["latent_nmse"]) < 0.01, row["defense"]
        assert "not-adaptive" not in row["flags"]


@pytest.mark.slow
def test_a_defence_that_no_attack_adapts_to_is_flagged_and_unranked(trivial: Path) -> None:
    (row,) = (row for row in table(trivial / "rows.csv") if row["defense"] == "toy-sealed")
    assert row["status"] == "ok"
    assert row["flags"].split()[-1] == "not-adaptive:toy-sealed"
    standings = {row["defense"]: row for row in table(trivial / "leaderboard.csv")}
    # One seed leaves every standing partial; only this one also lacks an attack that adapts.
    assert {name for name, s in standings.items() if "no attack adapts" in s["partial"]} == {
        "toy-sealed"
    }
    assert float(standings["toy-sealed"]["normalized"]) < 0.5
