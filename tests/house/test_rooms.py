"""The rooms of the house: each imports itself and rooms below it, and no modules import each other
in a circle.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT

ROOMS = {
    "bench": (
        "cli",
        "api",
        "running",
        "reports",
        "planning",
        "cell",
        "scoring",
        "ledger",
        "settings",
        "backbones",
        "metrics",
        "data",
        "interfaces",
        "wire",
        "types",
        "util",
    ),
    "attacks": (
        "malicious",
        "hints",
        "learned",
        "features",
        "prompts",
        "gradients",
        "wire",
        "common",
    ),
    "victims": ("pocket", "classifier", "diffusion", "stable_diffusion", "common"),
    "defenses": ("common",),
}
"""Rooms of each package, from the top down. A file beside the rooms of ``defenses`` is above them.
"""


def sources() -> dict[str, Path]:
    """Every module of the four packages, by its dotted name."""
    found = {}
    for top in ROOMS:
        for file in sorted((ROOT / top).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(text: str, known: Mapping[str, object]) -> Iterator[str]:
    """Modules among ``known`` that a file imports: at run time, inside functions and for type
    checkers alone.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known or node.module in known:
                    yield inner if inner in known else node.module


def height(module: str) -> int:
    """Place of a module's room, counted from the lowest; what stands beside the rooms is above
    them.
    """
    top, *rest = module.split(".")
    rooms = ROOMS[top]
    return len(rooms) - rooms.index(rest[0]) if rest and rest[0] in rooms else len(rooms) + 1


def upward(module: str, imported: str) -> bool:
    """Whether an import goes to a room above, or to a package that the importing one must not know.

    The package ``bench`` itself gives its version to everyone.
    """
    if imported == "bench":
        return False
    if module.partition(".")[0] != imported.partition(".")[0]:
        return not imported.startswith("bench.")
    return height(imported) > height(module)


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    known = sources()
    return {name: set(imports(file.read_text(), known)) for name, file in known.items()}


def test_the_reader_sees_every_kind_of_import() -> None:
    text = (
        "import bench.util.rng\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from bench.cell.job import Job\n"
        "def f():\n    from bench.cli import main\n"
    )
    known = dict.fromkeys(["bench.util.rng", "bench.cell.job", "bench.cli.main"])
    assert set(imports(text, known)) == set(known)


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("bench.types.records", "bench.wire.capture"),
        ("attacks.common.evidence", "attacks.wire.closed_form"),
        ("bench.cell.runner", "attacks.wire.closed_form"),
        ("defenses.common.record_noise", "defenses.timestep"),
    ],
)
def test_an_arrow_upward_or_across_is_seen(module: str, imported: str) -> None:
    assert upward(module, imported)


def test_every_module_of_bench_attacks_and_victims_stands_in_a_room() -> None:
    loose = {"bench", "bench.__main__", "attacks", "victims", "defenses"}
    names = [name for name in sources() if not name.startswith("defenses") and name not in loose]
    assert [name for name in names if name.split(".")[1] not in ROOMS[name.split(".")[0]]] == []


def test_a_room_imports_itself_and_rooms_below(arrows: dict[str, set[str]]) -> None:
    entry = {"bench", "bench.__main__"}  # the public face and the program stand above all rooms
    found = [
        f"{module} imports {imported}"
        for module, targets in arrows.items()
        if module not in entry
        for imported in sorted(targets)
        if upward(module, imported)
    ]
    assert found == []


def circle(arrows: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, the first one again at the end; else nothing."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_circle_is_seen() -> None:
    assert len(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == 4


def test_no_modules_import_each_other_in_a_circle(arrows: dict[str, set[str]]) -> None:
    assert circle(arrows) == []
