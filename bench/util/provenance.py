"""The code and the libraries that a number was computed with."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = (
    "diffusers",
    "lpips",
    "matplotlib",
    "numpy",
    "opacus",
    "pillow",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "tokenizers",
    "torch",
    "torchmetrics",
    "transformers",
)
"""Packages whose code shapes a number: of training, of an attack, of a metric, or of a picture."""


@lru_cache
def libraries() -> dict[str, str]:
    """Return the versions that are part of every id: Python (major and minor) and the libraries.

    The local part of a version (``+cpu`` in ``2.13.0+cpu``) is left out: it describes the hardware
    of a build, not what the library does.
    """
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    return found | {package: _version(package).partition("+")[0] for package in _LIBRARIES}


@lru_cache
def versions() -> dict[str, str]:
    """Return the full versions in a row: of Python, of this project and of the libraries."""
    found = {"python": platform.python_version(), "splitleak": _version("splitleak")}
    return found | {package: _version(package) for package in _LIBRARIES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@lru_cache
def commit() -> str:
    """Return the commit of the source tree, with ``-dirty`` if it has changes.

    Outside a checkout the text is empty.
    """
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return ""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
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
