"""The how-to pages, followed from an empty folder."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.install import add_distribution
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def follow(page: str, folder: Path) -> tuple[list[list[str]], dict[str, list[str]]]:
    """Write the page's files; return its ``bench`` commands, and its plugins as lines by kind."""
    commands: list[list[str]] = []
    for language, text in BLOCK.findall((DOCS / page).read_text()):
        head, _, rest = text.partition("\n")
        if head.startswith("# file: "):
            file = folder / head.removeprefix("# file: ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(rest)
        elif not language:
            commands += [
                shlex.split(line)[1:] for line in text.splitlines() if line.startswith("bench ")
            ]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    groups = project["entry-points"].items()
    return commands, {
        group.removeprefix("splitleak."): [f"{name} = {target}" for name, target in entries.items()]
        for group, entries in groups
    }


def bench(folder: Path, arguments: list[str]) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "COLUMNS": "200",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows_of(
    page: str, name: str, folder: Path, kinds: list[str]
) -> dict[tuple[str, str], dict[str, str]]:
    """Follow a page with the plugin ``name``; return its rows by defence and target.

    Args:
        page: file name of the page.
        name: name of the plugin and of its distribution.
        folder: an empty folder.
        kinds: the ``bench`` commands that the page is expected to show, in order.
    """
    commands, plugins = follow(page, folder)
    add_distribution(folder, name, plugins, version="0.1")
    assert [command[0] for command in commands] == kinds
    assert "from: " in bench(folder, commands[0])
    for command in commands[1:]:
        bench(folder, command)
    with (folder / "results" / "rows.csv").open() as stream:
        return {(row["defense"], row["target"]): row for row in csv.DictReader(stream)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "name"), [("how-to-attack.md", "mine"), ("how-to-defense.md", "coarse")]
)
def test_a_page_leads_to_a_row(page: str, name: str, tmp_path: Path) -> None:
    rows = rows_of(page, name, tmp_path, ["describe", "run"])
    plain = rows["none", "image"]
    assert plain["status"] == "ok", plain["reason"]
    assert float(plain["ssim_normalized"]) > 0.95
    assert plain["certificate"]
    assert not {"certificate-missed", "global-random"} & set(plain["flags"].split())
    assert (f'"{name}": "0.1"' in plain["versions"]) == (
        name == "mine"
    )  # the other one is not in this cell
    if name == "mine":
        assert float(plain["attack_residual"]) > 0
        return
    rounded = rows["coarse:step=1.0", "image"]
    assert rounded["status"] == "ok", rounded["reason"]
    assert float(rounded["ssim"]) < float(plain["ssim"])
    assert f'"{name}": "0.1"' in rounded["versions"]
    assert float(rows["doubled", "condition"]["ssim_normalized"]) > 0.95


@pytest.mark.slow
def test_the_data_set_page_leads_to_a_picture_and_a_row(tmp_path: Path) -> None:
    rows = rows_of("how-to-dataset.md", "stripes", tmp_path, ["describe", "sheet", "run"])
    assert (tmp_path / "sheet.png").stat().st_size > 0
    row = rows["none", "image"]
    assert (row["status"], row["dataset"]) == ("ok", "stripes"), row["reason"]
    assert float(row["ssim_normalized"]) > 0.95
    assert '"stripes": "0.1"' in row["versions"]


@pytest.mark.slow
def test_the_victim_page_leads_to_a_row(tmp_path: Path) -> None:
    rows = rows_of("how-to-victim.md", "pooled", tmp_path, ["describe", "run"])
    row = rows["none", "image"]
    assert (row["status"], row["victim"]) == ("ok", "pooled"), row["reason"]
    assert row["channels_read"].split() == ["control_features"]
    assert 0 <= float(row["utility_pooled_error"]) <= 1
    assert '"pooled": "0.1"' in row["versions"]


def fields(page: str, title: str) -> set[str]:
    """Names in the first column of the table under a heading, calls without their arguments."""
    section = (DOCS / page).read_text().split(f"### {title}\n")[1].split("\n#")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")]
    return {name for cell in cells for name in re.findall(r"`(\w+)", cell)}


def test_the_tables_name_every_field() -> None:
    import dataclasses

    from bench.interfaces import Claim, ProtectContext, Public, View

    for title, cls, page in (
        ("`Public`", Public, "how-to-attack.md"),
        ("`Claim`", Claim, "how-to-attack.md"),
        ("`ProtectContext`", ProtectContext, "how-to-defense.md"),
    ):
        assert {field.name for field in dataclasses.fields(cls)} <= fields(page, title), title
    public = {name for name in vars(View) if not name.startswith("_")} - {
        "channels_read",
        "with_channels",
    }
    assert public <= fields("how-to-attack.md", "`View`")


def test_the_table_names_every_hook() -> None:
    from bench.interfaces import Defense

    section = (DOCS / "how-to-defense.md").read_text().split("## The hooks\n")[1].split("\n#")[0]
    hooks = {name for name in vars(Defense) if not name.startswith("_")}
    assert {hook for hook in hooks - {"flat"} if f"`{hook}" not in section} == set()
