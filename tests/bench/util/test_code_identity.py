"""Which definitions the identity of a class covers, and that nothing else moves it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from attacks.wire.closed_form import ClosedForm
from bench.cell.code_roots import cell_roots
from bench.cell.training import train_capture
from bench.data.folder.dataset import Folder
from bench.data.portraits.dataset import Portraits
from bench.data.splits import load_splits
from bench.metrics.perceptual_distance import LPIPS
from bench.metrics.structural_similarity import SSIM
from bench.scoring.leakage import leakage
from bench.util.code_identity import INERT, Closure, Root, Sources, Symbol, _read, code_hash
from defenses.timestep import TimestepPolicy
from tests.support.code import altered_constant
from victims.diffusion.split_controlnet import SplitControlNet

CAPTURE: tuple[Root, ...] = (train_capture, load_splits, SplitControlNet, TimestepPolicy, Portraits)
STAGES: dict[str, tuple[Root, ...]] = {
    "capture": CAPTURE,
    "attack": (ClosedForm,),
    "ssim": (SSIM,),
    "lpips": (LPIPS,),
    "scoring": cell_roots(),
    "leakage": (leakage,),
    "folder": (Folder,),
}


LEAST = {"capture": 20, "attack": 10, "ssim": 1, "scoring": 10}
"""Modules with a number to change, at least."""


def identities(
    change: Callable[[str, str], str] | None = None, stages: Collection[str] = tuple(STAGES)
) -> dict[str, str]:
    """The identity of every stage, with the text of each module as ``change`` gives it."""

    def read(module: str) -> str | None:
        text = _read(module)
        return text if text is None or change is None else change(module, text)

    sources = Sources(read)
    return {
        stage: code_hash(*roots, sources=sources)
        for stage, roots in STAGES.items()
        if stage in stages
    }


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    return identities()


def replaced(module: str, old: str, new: str) -> Callable[[str, str], str]:
    def change(name: str, text: str) -> str:
        if name != module:
            return text
        assert text.count(old) >= 1, f"{module} does not say {old!r} any more"
        return text.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("module", "old", "new", "moved"),
    [
        ("bench.types.schedule", "noisy", "noisy", set()),
        ("bench.wire.transcript", "safetensors", "safetensors", set()),
        (
            "bench.types.schedule",
            "return (1.0 - self",
            "return (0.5 - self",
            {"capture", "attack", "scoring", "leakage"},
        ),
        (
            "victims.diffusion.parts.encoded_records",
            "mean + std *",
            "mean + 2 * std *",
            {"capture"},
        ),
        ("defenses.timestep", "Field(default=8.0", "Field(default=9.0", {"capture"}),
        ("bench.data.portraits.render", "SUPERSAMPLE = 2", "SUPERSAMPLE = 3", {"capture"}),
        ("bench.data.splits", "MOST_SPARE = 4", "MOST_SPARE = 5", {"capture"}),
        ("bench.cell.training", '"client"', '"a client"', {"capture"}),
        ("attacks.common.least_squares", "1e-", "2e-", {"attack"}),
        (
            "bench.metrics.structural_similarity",
            "data_range=1.0",
            "data_range=2.0",
            {"capture", "ssim"},
        ),
        ("bench.scoring.flags", "CLOSE_CONTROLS = 0.1", "CLOSE_CONTROLS = 0.2", {"scoring"}),
        ("bench.scoring.controls.images", "BLIND", "BLIND", set()),
        ("bench.util.stats", "resamples: int = 2000", "resamples: int = 2001", {"scoring"}),
        ("bench.scoring.leakage", "SAMPLE = 64", "SAMPLE = 65", {"scoring", "leakage"}),
        ("bench.scoring.rows", "SCHEMA_VERSION,", "SCHEMA_VERSION,", set()),
        ("bench.data.folder.captions", "MOST_WORDS = 75", "MOST_WORDS = 76", {"folder"}),
        ("bench.ledger.ledger", "timeout", "timeout", set()),
        ("bench.util.errors", "exit_code = ", "exit_code = 1 + ", set()),
    ],
)
def test_a_changed_constant_moves_exactly_the_identities_that_lean_on_it(
    before: dict[str, str], module: str, old: str, new: str, moved: set[str]
) -> None:
    after = identities(replaced(module, old, new))
    assert {stage for stage in STAGES if after[stage] != before[stage]} == moved


@pytest.mark.parametrize("stage", ["capture", "attack", "ssim", "scoring"])
def test_a_constant_in_each_module_on_the_way_counts(stage: str, before: dict[str, str]) -> None:
    closure = Closure(STAGES[stage], Sources())
    tried = 0
    for module in sorted(closure.modules()):
        names = {s.name for s in closure.reached if s.module == module}
        text = _read(module)
        assert text is not None
        changed = altered_constant(text, names)
        if changed is None:  # its reached definitions hold no number
            continue
        tried += 1
        after = identities(
            lambda name, t, module=module, changed=changed: changed if name == module else t,
            [stage],
        )
        assert after[stage] != before[stage], (
            f"a constant in {module} does not move the identity of {stage}"
        )
    assert tried >= LEAST[stage]


@pytest.mark.parametrize("stage", ["capture", "attack"])
def test_comments_docstrings_and_layout_count_nowhere(stage: str, before: dict[str, str]) -> None:
    def rewritten(name: str, text: str) -> str:
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
                and ast.get_docstring(node) is not None
            ):
                node.body[0].value = ast.Constant("Another docstring.")  # type: ignore[attr-defined]
        return "# a comment\n" + ast.unparse(tree) + "\n\n\n# another\n"

    assert identities(rewritten) == before


def test_a_card_and_a_definition_beside_it_count_nowhere(before: dict[str, str]) -> None:
    assert (
        identities(replaced("defenses.timestep", "card = Card(", "card = Card(notes='', "))
        == before
    )
    assert (
        identities(lambda name, text: text + "\n\ndef that_nobody_calls() -> int:\n    return 7\n")
        == before
    )


def test_imports_for_type_checkers_are_not_followed(before: dict[str, str]) -> None:
    extra = (
        "\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from attacks.learned.inversion import Inversion as Fact\n"
    )
    assert identities(lambda n, t: t + extra if n == "bench.types.schedule" else t) == before


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package: ``plugin`` uses ``near.helper`` and ``far.first``; ``other`` is unrelated."""
    folder = tmp_path / "hashed"
    folder.mkdir()
    for name, text in {
        "__init__": "",
        "plugin": (
            "import json\nfrom hashed.near import helper\n"
            "from hashed.far import first as chosen\n"
            "from bench.types.schedule import NoiseSchedule\n\n\nclass Plugin:\n"
            "    def run(self):\n        return helper(), chosen, NoiseSchedule, json\n"
        ),
        "near": "from . import far\n\n\ndef helper():\n    return far.third\n",
        "far": "first = 1\nsecond = 2\nthird = 3\n",
        "other": "VALUE = 1\n",
    }.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [n for n in sys.modules if n.partition(".")[0] == "hashed"]:
        del sys.modules[name]


def guest(package: Path) -> str:
    source = (package / "plugin.py").read_text()
    cls: Any = type("Plugin", (), {"__module__": "hashed.plugin", "__qualname__": "Plugin"})
    assert "class Plugin" in source
    return code_hash(cls, sources=Sources())


@pytest.mark.parametrize(
    ("file", "old", "new", "counts"),
    [
        ("plugin", "return helper()", "return helper() + 0", True),
        ("plugin", "first as chosen", "second as chosen", True),
        ("near", "far.third", "far.second", True),
        ("far", "third = 3", "third = 4", True),
        ("far", "first = 1\nsecond = 2", "first = 2\nsecond = 1", True),
        ("far", "second = 2", "second = 5", False),
        ("other", "VALUE = 1", "VALUE = 2", False),
        ("plugin", "import json", "import pickle as json", True),
    ],
)
def test_a_guest_counts_with_what_it_uses(
    package: Path, file: str, old: str, new: str, counts: bool
) -> None:
    before = guest(package)
    path = package / f"{file}.py"
    path.write_text(path.read_text().replace(old, new))
    assert (guest(package) != before) is counts


def test_a_guest_leans_on_this_project_too(package: Path) -> None:
    cls: Any = type("Plugin", (), {"__module__": "hashed.plugin", "__qualname__": "Plugin"})
    reached = Closure([cls], Sources()).reached
    assert Symbol("bench.types.schedule", "NoiseSchedule") in reached
    assert not {s.module for s in reached} & INERT


def test_a_move_to_another_module_counts_for_nothing(package: Path) -> None:
    before = guest(package)
    (package / "near.py").rename(package / "moved.py")
    path = package / "plugin.py"
    path.write_text(path.read_text().replace("hashed.near", "hashed.moved"))
    assert guest(package) == before


def test_built_in_plugins_do_not_depend_on_each_other() -> None:
    from victims.diffusion.federated import Federated

    used = Closure([ClosedForm], Sources()).modules()
    assert {
        "attacks.wire.closed_form",
        "attacks.common.wire_algebra",
        "attacks.common.least_squares",
    } <= used
    assert not used & {
        "attacks.learned.inversion",
        "attacks.wire.posterior",
        "attacks.gradients.dlg",
    }
    assert "victims.diffusion.split_controlnet" not in Closure([Federated], Sources()).modules()
