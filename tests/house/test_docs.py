"""Documentation that is made from code is current, and the README names what exists."""

from __future__ import annotations

import re
import runpy
from importlib.metadata import entry_points

from bench.interfaces.registry import KINDS, listing
from bench.interfaces.threat import PRESETS
from tests.support.paths import ROOT


def test_plugin_table_is_current():
    from bench.reports.describe import plugin_table

    builtin = {
        p.name
        for kind in KINDS
        for p in entry_points(group=f"splitleak.{kind}")
        if p.dist.name == "splitleak"
    }
    installed = {name for kind in KINDS for name in listing(kind).names()}
    assert installed == builtin, "run this test without other plugin packages"
    assert (ROOT / "docs" / "plugins.md").read_text() == plugin_table()


def test_readme_names_every_threat_model_and_its_links_exist():
    readme = (ROOT / "README.md").read_text()
    for name in PRESETS:
        assert f"`{name}`" in readme
    for link in re.findall(r"\]\(([^)#]+)\)", readme):
        assert link.startswith("http") or (ROOT / link).exists(), link


def test_every_figure_table_in_the_readme_stands_beside_its_command():
    """A Markdown table of numbers without a command near it cannot be made again."""
    blocks = re.split(r"\n(?=## )", (ROOT / "README.md").read_text())
    for block in blocks:
        if re.search(r"\|\s*-?\d+\.\d+", block):
            assert "```" in block, block.splitlines()[0]


def test_the_throughput_script_runs_and_its_two_ways_agree(monkeypatch, capsys):
    """It raises where they do not; what it times is not looked at."""
    arguments = ["--images", "2", "--iterations", "2", "--turns", "1"]
    monkeypatch.setattr("sys.argv", ["gradient_throughput.py", *arguments])
    runpy.run_path(str(ROOT / "docs" / "studies" / "gradient_throughput.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1].startswith("ratio")
