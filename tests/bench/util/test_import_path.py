"""What is installed is imported, whatever the working directory holds; PYTHONPATH still counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.util import import_path
from bench.util.import_path import child_environment, leave_empty_items, without_empty_items

NAMES = ("attacks", "defenses", "victims")


@pytest.fixture
def shadow(tmp_path: Path) -> Path:
    """A directory whose files have the names of our packages and of modules that we need."""
    folder = tmp_path / "shadow"
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    for name in ("queue", "torch", "click"):
        (folder / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    return folder


def python(
    folder: Path, *arguments: str, pythonpath: str | None = None
) -> subprocess.CompletedProcess[str]:
    """A fresh Python in a working directory."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if pythonpath is not None:
        environment["PYTHONPATH"] = pythonpath
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=environment
    )


@pytest.mark.parametrize("pythonpath", [None, os.pathsep + "/no/such/folder"])
def test_the_working_directory_is_not_searched(shadow: Path, pythonpath: str | None) -> None:
    done = python(shadow, "-m", "bench", "describe", "none", pythonpath=pythonpath)
    assert done.returncode == 0, done.stderr
    assert "Leaves the victim undefended" in done.stdout


def test_what_pythonpath_names_is_searched(tmp_path: Path) -> None:
    (tmp_path / "guest").mkdir()
    (tmp_path / "guest" / "mine.py").write_text("")
    script = "import sys; sys.argv[0] = '-m'; import bench, mine; print(mine.__file__)"
    done = python(tmp_path, "-c", script, pythonpath="guest")
    assert done.stdout.strip().endswith(os.path.join("guest", "mine.py")), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("owned", [False, True], ids=["a folder", "a distribution"])
def test_a_package_in_the_place_of_ours_is_named(owned: bool, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "attacks").mkdir(parents=True)
    (site / "attacks" / "__init__.py").write_text("")
    if owned:
        info = site / "foolbox-9.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foolbox\nVersion: 9.0\n")
        (info / "RECORD").write_text("attacks/__init__.py,,\nfoolbox-9.0.dist-info/METADATA,,\n")
    done = python(tmp_path, "-m", "bench", "describe", "closed-form", pythonpath=str(site))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "bench: attack 'closed-form' (attacks.wire.closed_form:ClosedForm of splitleak"
    )
    assert f"{site / 'attacks'} " in line
    assert "is imported in place of the package 'attacks' of splitleak" in line
    assert ("of the distribution foolbox is" in line) == owned


def test_our_own_packages_are_ours() -> None:
    assert [import_path.package_elsewhere(name) for name in ("bench", *NAMES)] == [""] * 4


def test_empty_items_of_pythonpath_do_not_reach_children() -> None:
    join = os.pathsep.join
    assert without_empty_items(join(["", "a", "", "b", ""])) == join(["a", "b"])
    assert child_environment({"PYTHONPATH": join(["", "a"]), "X": "1"}) == {
        "PYTHONPATH": "a",
        "X": "1",
    }
    assert child_environment({"PYTHONPATH": os.pathsep, "X": "1"}) == {"X": "1"}


@pytest.mark.parametrize(
    ("items", "stays"),
    [(["", "a"], False), (["", "."], True), (["a"], True)],
    ids=["empty", "named", "not there"],
)
def test_the_working_directory_stays_where_it_is_named(items, stays, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(items))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    leave_empty_items()
    assert (str(tmp_path) in sys.path) is stays


def test_our_own_folder_stays_on_the_path(monkeypatch) -> None:
    home = Path(import_path.__file__).resolve().parents[2]
    monkeypatch.chdir(home)
    monkeypatch.setenv("PYTHONPATH", os.pathsep)
    monkeypatch.setattr(sys, "path", [str(home), *sys.path])
    leave_empty_items()
    assert sys.path[0] == str(home)
