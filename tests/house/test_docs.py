"""Documentation is current: links, commands and generated pages agree with the code."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest

import bench
from bench.cli.main import main
from bench.interfaces.registry import KINDS, listing
from bench.interfaces.threat import PRESETS
from tests.house.test_rooms import ROOMS
from tests.support.paths import ROOT

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


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


def pages() -> list[Path]:
    """Every Markdown file that people read: the README and its neighbours, docs, cards, tables."""
    outside = ("bench/backbones/CARD.md", "victims/pocket/MODEL_CARD.md", "results/leaderboard.md")
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))] + [
        ROOT / name for name in outside
    ]


def parametrize_pages(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test once for each page, named by its path."""
    names = [page.relative_to(ROOT).as_posix() for page in pages()]
    decorated: Callable[..., None] = pytest.mark.parametrize("name", names)(test)
    return decorated


def prose(text: str) -> str:
    """Return a page without its code blocks."""
    return FENCE.sub("", text)


def slugs(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", prose(text), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in plain}


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of every ``bench`` command in a page's shell blocks and code spans."""
    shell = [body for language, body in FENCE.findall(text) if language in ("", "bash", "sh")]
    spans = re.findall(r"`((?:\.venv/bin/)?bench [a-z][^`]*)`", prose(text).replace("\n", " "))
    for block in (*shell, *spans):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||;|\bdo\b", line.partition(" # ")[0]):
                if re.match(r"\s*(?:\.venv/bin/)?bench [a-z]", part):
                    yield shlex.split(part.translate({ord("["): None, ord("]"): None}))[1:]


@parametrize_pages
def test_links_and_anchors_exist(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        assert not anchor or anchor in slugs(file.read_text()), target


@parametrize_pages
def test_named_files_and_definitions_exist(name: str) -> None:
    text = prose((ROOT / name).read_text())
    for file in re.findall(
        r"\b(?:bench|attacks|victims|defenses|tests|docs)/[a-z0-9_/]+\.\w+", text
    ):
        assert (ROOT / file).exists(), file
    if name == "CHANGELOG.md":
        return  # names what was before
    for dotted in re.findall(r"`((?:bench|attacks|victims|defenses)(?:\.\w+){2,})`", text):
        *parts, last = dotted.split(".")
        module = ROOT.joinpath(*parts).with_suffix(".py")
        assert module.exists(), dotted
        assert re.search(rf"\b{last}\b", module.read_text()), dotted


def test_slugs_are_those_of_github() -> None:
    text = "# A `b-c` D\n## What `x` says\n```\n# no heading\n```\n### split, pp\\_hidden\n"
    assert slugs(text) == {"a-b-c-d", "what-x-says", "split-pp_hidden"}


@parametrize_pages
def test_bench_commands_and_their_options_exist(name: str) -> None:
    context = click.Context(main)
    for arguments in commands((ROOT / name).read_text()):
        command = main.get_command(context, arguments[0])
        assert command is not None, arguments
        with click.Context(command, info_name=arguments[0]) as inner:
            try:
                command.make_parser(inner).parse_args(arguments[1:])
            except click.UsageError as error:
                pytest.fail(f"bench {shlex.join(arguments)}: {error.format_message()}")


def test_commands_are_found_wherever_they_stand() -> None:
    text = """
```
bench run standard && bench summary results/rows.csv --metric ssim   # why
for x in a b; do bench run --attack $x \\
  --seed 1; done
```
and `bench
ls`, not `bench`.
```python
bench = 1
```
"""
    assert list(commands(text)) == [
        ["run", "standard"],
        ["summary", "results/rows.csv", "--metric", "ssim"],
        ["run", "--attack", "$x", "--seed", "1"],
        ["ls"],
    ]


def test_the_page_of_options_lists_every_command() -> None:
    section = (ROOT / "docs" / "usage.md").read_text().split("## Examples\n")[0]
    listed = set(re.findall(r"`bench ([a-z]+)", section))
    assert listed == set(main.list_commands(click.Context(main)))


def test_the_page_of_options_explains_every_threat_model() -> None:
    section = (ROOT / "docs" / "usage.md").read_text().split("## Threat models\n")[1]
    explained = re.findall(r"^\| `(\w+)`", section.split("\n## ")[0], re.MULTILINE)
    assert explained == list(PRESETS)


@pytest.mark.parametrize("name", ["README.md", "docs/finding.md"])
def test_every_figure_table_stands_beside_its_command(name: str) -> None:
    """A Markdown table of numbers without a command near it cannot be made again."""
    blocks = re.split(r"\n(?=## )", (ROOT / name).read_text())
    tables = [block for block in blocks if re.search(r"\|\s*-?\d+\.\d+", block)]
    assert tables
    for block in tables:
        assert "```\nbench " in block, block.splitlines()[0]


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_contributing_draws_every_room_from_the_top_down() -> None:
    tree = (ROOT / "CONTRIBUTING.md").read_text().split("## Rooms\n")[1].split("```")[1]
    drawn: dict[str, list[str]] = {}
    for line in tree.splitlines()[1:]:
        name = line.split()[0].rstrip("/")
        if line.startswith(" "):
            drawn[next(reversed(drawn))].append(name)
        else:
            drawn[name] = []
    for package in ("bench", "attacks", "victims"):
        assert drawn[package] == list(ROOMS[package]), package


@parametrize_pages
def test_pages_use_plain_words(name: str) -> None:
    """Words of which a reader has to guess what they stand for."""
    if name == "docs/plugins.md":
        return  # made from the plugins' cards
    vague = r"\b(?:likewise|of its own|one's own|nobody|all the same|speaks of)\b"
    assert re.findall(vague, prose((ROOT / name).read_text()), re.IGNORECASE) == []


@parametrize_pages
def test_lists_and_tables_stand_free(name: str) -> None:
    """The site shows a list or a table only after an empty line, GitHub everywhere."""
    lines = FENCE.sub("```", (ROOT / name).read_text()).splitlines()
    for before, line in pairwise(lines):
        if re.match(r"(?:[*-]|\d+\.) ", line):
            assert not before or re.match(r"\s+|[*-] |\d+\. ", before), line
        if line.startswith("|"):
            assert not before or before.startswith("|"), line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/python.md"])
def test_python_examples_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The blocks of a page run one after another, with smaller sizes than a reader's."""
    monkeypatch.chdir(tmp_path)
    sizes = {"records": 16, "auxiliary": 16, "calibration": 8, "evaluation": 8, "targets": 16}
    small = {**sizes, "epochs": 1, "utility_steps": 1}
    monkeypatch.setattr(bench, "run", partial(bench.run, iterations=2, **small))
    monkeypatch.setattr(bench, "capture", partial(bench.capture, **small))
    blocks = [body for language, body in FENCE.findall((ROOT / name).read_text()) if language]
    scope: dict[str, Any] = {}
    exec(compile("\n".join(blocks), name, "exec"), scope)
    assert set(scope["results"].rows["status"]) <= {"ok", "not_claimed"}
    assert set(scope["claim"].estimates) == {"image", "condition"}
    table = capsys.readouterr().out
    assert re.search(r"\| closed-form \| condition \| 0\.9\d\d \|", table), table


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_fetches_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    built = sorted(tmp_path.rglob("*.html"))
    assert len(built) > 30
    outside = (
        r"""<(?:(?:script|img|iframe)[^>]*\ssrc|link[^>]*stylesheet[^>]*href)=["']?(?:https?:)?//"""
    )
    assert [page.name for page in built if re.search(outside, page.read_text())] == []


def test_the_throughput_script_runs_and_its_two_ways_agree(monkeypatch, capsys):
    """It raises where they do not; what it times is not looked at."""
    arguments = ["--images", "2", "--iterations", "2", "--turns", "1"]
    monkeypatch.setattr("sys.argv", ["gradient_throughput.py", *arguments])
    runpy.run_path(str(ROOT / "docs" / "studies" / "gradient_throughput.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1].startswith("ratio")
