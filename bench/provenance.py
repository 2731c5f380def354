"""Which code and which libraries made a number."""

from __future__ import annotations

import hashlib
import inspect
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
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
    """sha256 (12 digits) over the Python files beside the one that defines ``cls``.

    A plugin whose code changed must not be served from the cache. Files of one package stand together,
    since a class leans on its neighbours.
    """
    folder = Path(inspect.getfile(cls)).parent
    digest = hashlib.sha256(f"{cls.__module__}:{cls.__qualname__}".encode())
    for file in sorted(folder.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]
