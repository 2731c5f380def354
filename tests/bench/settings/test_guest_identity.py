"""What the identity of a plugin of another package covers."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from attacks.wire.closed_form import ClosedForm
from bench.settings.guest_identity import plugin_code
from bench.util.code_identity import code_hash
from tests.support.install import add_distribution, forget, install_bad_guests, on_path

PACKAGES = ("badguests", "labtools", "looselib")
USES = "import labtools.maths\nfrom looselib import FACTOR\nimport json, torch, bench.util.rng\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The bad guests, with a distribution that is installed and a package on the path alone."""
    install_bad_guests(tmp_path)
    (tmp_path / "labtools").mkdir()
    (tmp_path / "labtools" / "__init__.py").write_text("")
    (tmp_path / "labtools" / "maths.py").write_text("HALF = 0.5\n")
    (tmp_path / "labtools" / "notes.txt").write_text("notes\n")
    files = ("labtools/__init__.py", "labtools/maths.py", "labtools/notes.txt")
    add_distribution(tmp_path, "labtools", {}, files=files)
    (tmp_path / "looselib").mkdir()
    (tmp_path / "looselib" / "__init__.py").write_text("FACTOR = 2\n")
    (tmp_path / "looselib" / "table.csv").write_text("1,2\n")
    helper = tmp_path / "badguests" / "helper.py"
    helper.write_text(USES + helper.read_text())
    on_path(tmp_path, monkeypatch, *PACKAGES)
    yield tmp_path
    forget(*PACKAGES)


def identity() -> str:
    """The identity of the attack, as a fresh process would compute it."""
    forget(*PACKAGES)
    return plugin_code(import_module("badguests.attack").BadAttack)


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [
        "badguests/helper.py",
        "badguests/metric.py",
        "badguests/scale.txt",
        "labtools/maths.py",
        "looselib/__init__.py",
        "looselib/table.csv",
    ],
)
def test_every_file_counts(site: Path, file: str) -> None:
    before = identity()
    assert identity() == before
    with (site / file).open("a") as stream:
        stream.write("# more\n")
    assert identity() != before


def test_the_version_counts(site: Path) -> None:
    before = identity()
    meta = site / "badguests-1.0.dist-info" / "METADATA"
    meta.write_text(meta.read_text().replace("Version: 1.0", "Version: 1.1"))
    assert identity() != before


@pytest.mark.parametrize(
    "file",
    [
        "badguests/__pycache__/attack.pyc",
        "badguests/.git/HEAD",
        "badguests/results/ledger.sqlite",
        "other/module.py",
        "labtools/notes.txt",
        "badguests-1.0.dist-info/INSTALLER",
    ],
)
def test_what_shapes_no_number_does_not_count(site: Path, file: str) -> None:
    before = identity()
    (site / file).parent.mkdir(parents=True, exist_ok=True)
    (site / file).write_text("something else\n")
    assert identity() == before


def test_a_plugin_of_this_project_counts_by_its_definitions() -> None:
    assert plugin_code(ClosedForm) == code_hash(ClosedForm)
