"""Identity of plugins of other packages: their distribution, and the packages that it imports.

A plugin of this project counts by the definitions that it leads to (``bench.util.code_identity``).
For a plugin of another package those would miss data files, and modules that are imported at run
time, so all files count:

* of the distribution, as its installer listed them, and of the folder of its package, data files
included;
* of every other package that those files import, unless it is one of this project's dependencies,
  which count by their versions. Of an installed distribution the Python files and the version
  count, of any other package all files.

Compiled files, hidden folders and folders that hold a ledger do not count.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import (
    Distribution,
    EntryPoint,
    PackageNotFoundError,
    distribution,
    entry_points,
    packages_distributions,
)
from importlib.util import find_spec
from pathlib import Path

from bench.interfaces.plugin import Plugin
from bench.interfaces.registry import KINDS, OURS, is_built_in
from bench.settings.cell import CellSpec
from bench.util.code_identity import LOCAL, code_hash, is_ours

_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LEDGER = "ledger.sqlite"


def plugin_code(cls: type[Plugin]) -> str:
    """Return 12 hex digits that change with everything that shapes what a plugin does."""
    if is_ours(cls):
        return code_hash(cls)
    top = cls.__module__.partition(".")[0]
    files, local = _guest(top)
    own = code_hash(cls, local=local)
    return hashlib.sha256(f"{own}\n{files}".encode()).hexdigest()[:12]


def guest_versions(cell: CellSpec) -> dict[str, str]:
    """Return the versions of the other distributions that the cell's plugins come from, by name."""
    capture = cell.capture
    named = {
        "attacks": [cell.attack.attack.name],
        "defenses": [part.name for part in capture.defense],
        "victims": [capture.victim.name],
        "metrics": [metric.name for metric in cell.metrics],
        "datasets": [capture.data.dataset.name],
    }
    providers = _providers()
    keys = [(kind, name) for kind, names in named.items() for name in names]
    return dict(sorted({provider for key in keys for provider in providers.get(key, ())}))


@lru_cache(maxsize=1)
def _providers() -> Mapping[tuple[str, str], tuple[tuple[str, str], ...]]:
    """Return the other distributions of each plugin, with versions, by kind and plugin name."""
    providers: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {}
    for kind, point in _points():
        if point.dist is not None and not is_built_in(point):
            key = (kind, point.name)
            providers[key] = (*providers.get(key, ()), (point.dist.name, point.dist.version))
    return providers


def _points() -> Iterator[tuple[str, EntryPoint]]:
    """Yield the kind and the entry point of every plugin."""
    for kind in KINDS:
        for point in entry_points(group=f"splitleak.{kind}"):
            yield kind, point


@lru_cache(maxsize=64)
def _guest(top: str) -> tuple[str, tuple[str, ...]]:
    """Return a digest of a package with its imports, and the packages to be followed by name.

    Args:
        top: name of a top-level package.
    """
    digests: dict[str, str] = {}
    waiting, local = [top], []
    while waiting:
        package = waiting.pop()
        if package in digests:
            continue
        known = _distributions(package)
        if package != top and any(_plain(d.name) in _dependencies() for d in known):
            digests[package] = " ".join(f"{d.name} {d.version}" for d in known)
            continue
        installed = package != top and bool(known) and not any(map(_is_editable, known))
        files = _files(package, known)
        chosen = {
            name: file for name, file in files.items() if not installed or name.endswith(".py")
        }
        lines = [
            f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}"
            for name, file in sorted(chosen.items())
        ]
        digests[package] = "\n".join([*(f"{d.name} {d.version}" for d in known), *lines])
        if not installed:
            local.append(package)
            waiting += sorted({name for file in chosen.values() for name in _imported(file)})
    text = "\n".join(f"{package}\n{digest}" for package, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest(), tuple(sorted(local))


def _files(package: str, known: list[Distribution]) -> dict[str, Path]:
    """Return all files of a package and of its distributions, by path below their root."""
    files: dict[str, Path] = {}
    for one in known:
        for listed in one.files or ():
            file, parts = Path(str(listed.locate())), listed.parts
            meta = parts[0].endswith((".dist-info", ".egg-info")) or parts[0].startswith(
                "__editable__"
            )
            if (
                not meta
                and not listed.name.endswith((".pyc", ".pth"))
                and ".." not in parts
                and file.is_file()
            ):
                files[listed.as_posix()] = file
    for root in _roots(package):
        for file in [root] if root.is_file() else _tree(root):
            files[file.relative_to(root.parent).as_posix()] = file
    return files


def _roots(package: str) -> list[Path]:
    """Return the folders of a package, or the file of a module; none where it is compiled."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError, AttributeError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [Path(place) for place in spec.submodule_search_locations if Path(place).is_dir()]
    return [Path(spec.origin)] if spec.origin is not None and Path(spec.origin).is_file() else []


def _tree(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, except compiled files, hidden files and results of runs."""
    entries = sorted(folder.iterdir())
    if any(entry.name == _LEDGER for entry in entries):
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__pycache__" or entry.suffix == ".pyc":
            continue
        if entry.is_dir():
            yield from _tree(entry)
        elif entry.is_file():
            yield entry


def _imported(file: Path) -> set[str]:
    """Return the top-level packages that a file imports, besides Python's and this project's."""
    if file.suffix != ".py":
        return set()
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names - LOCAL - sys.stdlib_module_names


def _distributions(package: str) -> list[Distribution]:
    """Return the distributions that install a top-level package or register a plugin in it."""
    names = {_plain(name) for name in _packages().get(package, ())}
    for _, point in _points():
        if point.dist is not None and point.module.partition(".")[0] == package:
            names.add(_plain(point.dist.name))
    installed = []
    for name in sorted(names):
        try:
            installed.append(distribution(name))
        except PackageNotFoundError:
            continue
    return installed


@lru_cache(maxsize=1)
def _packages() -> Mapping[str, list[str]]:
    return packages_distributions()


@lru_cache(maxsize=1)
def _dependencies() -> frozenset[str]:
    """Return the names of all distributions that this project needs, extras included."""
    names: set[str] = set()
    waiting = [OURS]
    while waiting:
        name = waiting.pop()
        if name in names:
            continue
        names.add(name)
        try:
            needed = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        waiting += [_plain(match.group()) for line in needed if (match := _REQUIREMENT.match(line))]
    return frozenset(names)


def _is_editable(one: Distribution) -> bool:
    return '"editable": true' in (one.read_text("direct_url.json") or "")


def _plain(name: str) -> str:
    """Return a distribution's name in the form that PEP 503 compares."""
    return re.sub(r"[-_.]+", "-", name).lower()
