"""Which code and which libraries made a number."""

from __future__ import annotations

import ast
import hashlib
import inspect
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec, resolve_name
from pathlib import Path

_PACKAGES = ("splitleak", "torch", "diffusers", "transformers", "torchmetrics", "scikit-image")


@lru_cache
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that shape a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


@lru_cache
def commit() -> str:
    """Commit of the source tree, with ``-dirty`` where it has changes; empty outside a checkout."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return ""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("-dirty" if changed else "")


def code_hash(cls: type) -> str:
    """sha256 (12 digits) over the source of the module that defines ``cls`` and of all it leans on.

    A plugin whose code changed must not be served from the cache. What it leans on is found by following
    imports within its own top-level package, so that a new neighbour that it does not use changes nothing.
    """
    digest = hashlib.sha256(f"{cls.__module__}:{cls.__qualname__}".encode())
    sources = {name: file.read_bytes() for name, file in _sources(cls.__module__).items()}
    if not sources:  # a class of a script or of an interactive session
        sources = {cls.__module__: Path(inspect.getfile(cls)).read_bytes()}
    for name, source in sorted(sources.items()):
        digest.update(name.encode() + b"\0" + source)
    return digest.hexdigest()[:12]


@lru_cache
def _sources(module: str) -> dict[str, Path]:
    """Files of ``module`` and of every module of its top-level package that it imports, directly or not."""
    top = module.partition(".")[0]
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name.partition(".")[0] != top or (file := _file(name)) is None:
            continue
        found[name] = file
        waiting += [name.rpartition(".")[0], *_imports(name, file)]
    return found


def _file(module: str) -> Path | None:
    """Where a module's source is; None where there is no such module (a class or function of one, say)."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _imports(module: str, file: Path) -> list[str]:
    """Names that may be modules in the import statements of a file."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names
