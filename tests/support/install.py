"""Puts packages on the import path as an installer would, without one."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bench.settings import guest_identity

BAD = Path(__file__).parent / "badguests"
BAD_PLUGINS: Mapping[str, Sequence[str]] = {
    "attacks": ("bad-attack = badguests.attack:BadAttack", "bad-import = badguests.broken:Broken"),
    "defenses": ("bad-defense = badguests.defense:BadDefense",),
    "metrics": (
        "bad-metric = badguests.metric:BadMetric",
        "utility_fid = badguests.metric:Columns",
        "bad-metric-import = badguests.broken:Broken",
        "ssim = badguests.metric:BadMetric",
    ),
    "datasets": (
        "bad-data = badguests.dataset:BadData",
        "bad-leaves = badguests.leaves:Leaves",
        "portraits = badguests.broken:Portraits",
    ),
}


def add_distribution(
    site: Path,
    name: str,
    plugins: Mapping[str, Sequence[str]],
    *,
    version: str = "1.0",
    files: Sequence[str] = (),
) -> None:
    """Write the metadata of a distribution whose files are in ``site``.

    Args:
        plugins: lines ``name = module:Class`` by kind.
        files: what its installer has put there, relative to ``site``.
    """
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = [f"[splitleak.{kind}]\n" + "\n".join(lines) for kind, lines in plugins.items()]
    (info / "entry_points.txt").write_text("\n\n".join(groups) + "\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def install_bad_guests(site: Path) -> None:
    """Put the package of bad guests into the folder ``site``."""
    shutil.copytree(BAD, site / "badguests", ignore=shutil.ignore_patterns("__pycache__"))
    files = [file.relative_to(site).as_posix() for file in sorted((site / "badguests").rglob("*"))]
    add_distribution(site, "badguests", BAD_PLUGINS, files=files)


def forget(*packages: str) -> None:
    """Let the next import and the next look at installed packages begin anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]
    importlib.invalidate_caches()
    for cached in (guest_identity._providers, guest_identity._guest, guest_identity._packages):
        cached.cache_clear()


def on_path(site: Path, patch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let this process, and those that it starts, import what is in ``site``, until ``patch`` is
    undone.
    """
    patch.syspath_prepend(str(site))
    patch.setenv(
        "PYTHONPATH", os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    )
    forget(*packages)
