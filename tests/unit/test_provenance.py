"""Which source a plugin's code hash covers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.provenance import _sources, code_hash


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of four modules: ``plugin`` leans on ``near``, that on ``far``; ``other`` stands by itself."""
    folder = tmp_path / "hashed"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "plugin.py").write_text("import json\nfrom hashed.near import helper\n\nclass Plugin:\n    pass\n")
    (folder / "near.py").write_text("from . import far\n\ndef helper():\n    return far\n")
    (folder / "far.py").write_text("VALUE = 1\n")
    (folder / "other.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [n for n in sys.modules if n.partition(".")[0] == "hashed"]:
        del sys.modules[name]


def plugin_hash() -> str:
    from hashed.plugin import Plugin

    _sources.cache_clear()
    return code_hash(Plugin)


@pytest.mark.parametrize(("file", "counts"), [("plugin", True), ("near", True), ("far", True), ("other", False)])
def test_the_hash_follows_imports_and_nothing_else(package: Path, file: str, counts: bool) -> None:
    before = plugin_hash()
    with (package / f"{file}.py").open("a") as stream:
        stream.write("# changed\n")
    assert (plugin_hash() != before) is counts


def test_built_in_plugins_do_not_depend_on_each_other() -> None:
    from attacks.closed_form import ClosedForm
    from victims.federated import Federated

    used = set(_sources(ClosedForm.__module__))
    assert {"attacks.closed_form", "attacks.wire", "attacks.linear"} <= used
    assert not used & {"attacks.inversion", "attacks.posterior", "attacks.dlg"}
    assert "victims.split_controlnet" not in _sources(Federated.__module__)
