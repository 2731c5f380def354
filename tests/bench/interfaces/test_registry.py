"""Plugin discovery, on packages that exist only in a temporary folder of the import path."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from bench.interfaces import Defense, RequestError
from bench.interfaces.registry import KINDS, Registry, listing

GOOD = """
from bench.interfaces.defense import Defense
from bench.interfaces.plugin import Card
class {cls}(Defense):
    name = "{name}"
    card = Card(summary="s", source="this project")
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package with one module and its entry points on the import path, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(package: str, entries: dict[str, str], source: str = "", version: str = "1.0") -> None:
        info = tmp_path / f"{package}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        )
        lines = "".join(f"{name} = {target}\n" for name, target in entries.items())
        (info / "entry_points.txt").write_text(f"[splitleak.defenses]\n{lines}")
        (tmp_path / f"{package}.py").write_text(source)
        # The module may be imported by the test; forget it afterwards.
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, package)

    return add


def defenses() -> Registry[Defense]:
    return Registry("defenses", Defense)


def test_a_new_package_is_found_beside_the_built_ins(install: Install) -> None:
    install("fogpack", {"fog": "fogpack:Fog"}, GOOD.format(cls="Fog", name="fog"), version="2.5")
    registry = defenses()
    assert {"fog", "none", "timestep"} <= set(registry.names())
    assert str(registry.origin("fog")) == "fogpack:Fog of fogpack 2.5"
    assert "fogpack" not in sys.modules, "listing must not import"
    assert registry.load("fog").build({}).name == "fog"


def test_the_same_name_twice_is_an_error_that_names_both_origins(install: Install) -> None:
    install("fogone", {"fog": "fogone:Fog"}, GOOD.format(cls="Fog", name="fog"))
    install("fogtwo", {"fog": "fogtwo:Fog"}, GOOD.format(cls="Fog", name="fog"), version="3.1")
    with pytest.raises(RequestError, match="'fog' is registered twice") as caught:
        defenses().load("fog")
    assert "fogone:Fog of fogone 1.0" in str(caught.value)
    assert "fogtwo:Fog of fogtwo 3.1" in str(caught.value)
    assert defenses().load("none").name == "none"


def test_a_stranger_neither_replaces_a_built_in_nor_keeps_it_from_being_used(
    install: Install,
) -> None:
    install("usurper", {"none": "usurper:Mine"}, GOOD.format(cls="Mine", name="none"))
    registry = defenses()
    assert registry.load("none").__module__ == "defenses.none"
    assert "of splitleak" in str(registry.origin("none"))
    (said,) = registry.faults()["none"]
    assert (
        said
        == "usurper:Mine of usurper 1.0 is not used: defense 'none' is splitleak's own; rename it"
    )
    assert "usurper" not in sys.modules


def test_two_packages_that_provide_one_class_are_named_both(install: Install) -> None:
    install("fogone", {"fog": "fogone:Fog"}, GOOD.format(cls="Fog", name="fog"))
    install("fogtwo", {"fog": "fogone:Fog"})
    registry = defenses()
    assert registry.is_clash("fog")
    assert "fogone:Fog of fogone 1.0 and fogone:Fog of fogtwo 1.0" in registry.faults()["fog"][0]


def test_a_hidden_version_of_a_package_is_named(install: Install) -> None:
    install("fogpack", {"fog": "fogpack:Fog"}, GOOD.format(cls="Fog", name="fog"), version="2.0")
    install("fogpack", {"fog": "fogpack:Fog"}, GOOD.format(cls="Fog", name="fog"), version="1.0")
    registry = defenses()
    (said,) = registry.faults()["fog"]
    used, hidden = said.split(" is used; there is also ")
    assert {used, hidden} in (
        {"fogpack:Fog of fogpack 2.0", "fogpack 1.0, which is hidden"},
        {"fogpack:Fog of fogpack 1.0", "fogpack 2.0, which is hidden"},
    )
    assert registry.load("fog").name == "fog"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("class Fog:\n    name = 'fog'\n", "must extend bench.interfaces.defense.Defense"),
        ("Fog = 3\n", "must extend bench.interfaces.defense.Defense"),
        (
            "from attacks.wire.closed_form import ClosedForm as Fog\n",
            "must extend bench.interfaces.defense.Defense",
        ),
        (
            "import no_such_module_of_mine\n",
            "cannot be loaded: No module named 'no_such_module_of_mine'",
        ),
        ("class Fog(\n", "cannot be loaded"),
        ("raise RuntimeError('boom')\n", "cannot be loaded: boom"),
        ("Mist = 1\n", "cannot be loaded"),
        (GOOD.format(cls="Fog", name="mist"), "calls itself 'mist'"),
        (
            "from bench.interfaces import Defense\nclass Fog(Defense):\n    name = 'fog'\n",
            "has no card",
        ),
        (
            "from bench.interfaces import Defense\nclass Fog(Defense):\n    name = 'fog'\n    card "
            "= 'x'\n",
            "has no card",
        ),
    ],
)
def test_a_broken_plugin_is_named_with_its_origin_and_others_still_load(
    install: Install, source: str, message: str
) -> None:
    install("fogpack", {"fog": "fogpack:Fog"}, source)
    registry = defenses()
    assert "fog" in registry.names(), "a broken plugin is listed all the same"
    with pytest.raises(RequestError, match=re.escape(message)) as caught:
        registry.load("fog")
    assert "defense 'fog' (fogpack:Fog of fogpack 1.0)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert registry.load("none").name == "none"


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(
        RequestError, match=re.escape("unknown defense 'timestap'; did you mean 'timestep'?")
    ):
        defenses().load("timestap")
    with pytest.raises(RequestError, match=r"unknown defense 'zzzzzz'; known: .*none"):
        defenses().load("zzzzzz")
    with pytest.raises(RequestError, match="unknown defense 'fog'; none are installed"):
        Registry("defenses", Defense, points=[]).load("fog")


def test_one_package_listed_twice_is_no_clash() -> None:
    points = [point for point in _points() for _ in range(2)]
    assert Registry("defenses", Defense, points=points).load("none").name == "none"


def _points() -> list[EntryPoint]:
    return [p for p in entry_points(group="splitleak.defenses") if p.name == "none"][:1]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_built_ins(kind: str) -> None:
    registry = listing(kind)
    assert any("splitleak" in registry.origin(name).package for name in registry.names())
