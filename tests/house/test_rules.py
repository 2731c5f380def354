"""The house rules, read off the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

ROOMS = ("bench", "attacks", "defenses", "victims")
SOURCES = sorted(file for room in (*ROOMS, "tests") for file in (ROOT / room).rglob("*.py"))
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
LONGEST = 500


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level packages of every import in a file, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and _called(node) in {
            "import_module",
            "importlib.import_module",
            "__import__",
        }:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value.partition(".")[0]


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func)


def unsafe_loads(tree: ast.AST) -> list[int]:
    """Lines of ``torch.load`` without ``weights_only=True``, and of ``load_state_dict_from_url``
    likewise.
    """
    names = {"torch.load", "torch.hub.load_state_dict_from_url", "load_state_dict_from_url"}
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and _called(node) in names
        and not any(
            k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords
        )
    ]


def offenders(room: str, forbidden: set[str]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in SOURCES
        if file.is_relative_to(ROOT / room)
        for name in sorted(set(imported(ast.parse(file.read_text()))) & forbidden)
    ]


def test_the_readers_see_what_they_should() -> None:
    """Sabotage: every way of importing, and the unsafe calls."""
    code = (
        "import attacks.x\ndef f():\n  from victims import y\n"
        "importlib.import_module('defenses.z')\nfrom . import w"
    )
    assert set(imported(ast.parse(code))) == {"attacks", "victims", "defenses"}
    loads = (
        "torch.load(p)\ntorch.load(p, weights_only=False)\n"
        "torch.load(p, weights_only=True)\njson.load(p)"
    )
    assert unsafe_loads(ast.parse(loads)) == [1, 2]
    assert len([f for f in SOURCES if f.is_relative_to(ROOT / "bench")]) > 20


def test_bench_knows_no_attack_defence_or_victim() -> None:
    assert offenders("bench", {"attacks", "defenses", "victims", "tests"}) == []


@pytest.mark.parametrize("room", ["attacks", "defenses", "victims"])
def test_rooms_do_not_import_tests(room: str) -> None:
    assert offenders(room, {"tests"}) == []


def test_defenses_and_victims_know_no_attack() -> None:
    assert offenders("defenses", {"attacks", "victims"}) == []
    assert offenders("victims", {"attacks", "defenses"}) == []


def test_nothing_unpickles() -> None:
    assert [line for room in (*ROOMS, "tests") for line in offenders(room, UNPICKLERS)] == []


def test_torch_load_reads_weights_only() -> None:
    found = {str(f.relative_to(ROOT)): unsafe_loads(ast.parse(f.read_text())) for f in SOURCES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_no_file_is_longer_than_500_lines() -> None:
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in SOURCES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["ls"], ["ls", "attacks"]], ids=" ".join
)
def test_light_commands_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    script = (
        "import sys; from bench.cli.main import main; main(sys.argv[1:], standalone_mode=False); "
        "heavy = {'torch', 'numpy', 'diffusers', 'transformers'}; "
        "heavy |= {'attacks', 'defenses', 'victims'}; "
        "print(sorted({m.partition('.')[0] for m in sys.modules} & heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 2
    assert done.stdout.splitlines()[-1] == "[]"
