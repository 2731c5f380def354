"""Keeps the working directory off the import path, so that a user's ``queue.py`` or ``attacks/`` is
never ours.

Python puts the working directory first for ``python -m``, and where PYTHONPATH has an empty item (a
stray colon).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

_HOME = Path(__file__).resolve().parents[2]
"""The folder in which this package and those of the built-in plugins lie."""


def without_empty_items(pythonpath: str) -> str:
    """PYTHONPATH without its empty items, each of which stands for the working directory."""
    return os.pathsep.join(filter(None, pythonpath.split(os.pathsep)))


def child_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Environment of a child process that is started with ``-P``; what the user named in PYTHONPATH stays."""
    named = without_empty_items(base.get("PYTHONPATH", ""))
    rest = {name: value for name, value in base.items() if name != "PYTHONPATH"}
    return {**rest, "PYTHONPATH": named} if named else rest


def leave_working_directory() -> None:
    """Take the working directory off the import path if this process is one of our programs.

    Called while the package is imported, before any module that a file of the user's could stand
    for. A program that imports the package keeps its path.
    """
    program = sys.argv[0] if sys.argv else ""
    if (
        program == "-m" and not sys.flags.safe_path
    ):  # the module is being looked for; sys.argv is set afterwards
        del sys.path[0]
    if program == "-m" or Path(program).stem == "bench":
        leave_empty_items()


def leave_empty_items() -> None:
    """Remove what empty items of PYTHONPATH put on the import path, unless this package lies there."""
    items = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if "" not in items or items == [""]:
        return
    try:
        here = os.getcwd()
    except OSError:  # the directory is gone, and with it what could be imported
        return
    named = {os.path.abspath(item) for item in items if item}
    for entry in ("", here):
        if entry in sys.path and here not in named and os.path.realpath(here) != str(_HOME):
            sys.path.remove(entry)


def package_elsewhere(name: str) -> str:
    """Says what is imported in place of our top-level package ``name``; empty where ours is.

    Args:
        name: ``attacks``, ``bench``, ``defenses`` or ``victims``.
    """
    try:
        spec = find_spec(name)
    except ValueError:  # a module without a spec, which someone made by hand
        return ""
    if spec is None:
        return f"package {name!r} of splitleak is missing; install splitleak again"
    place = next(iter(spec.submodule_search_locations or [spec.origin or ""]))
    if Path(place).resolve() == _HOME / name:
        return ""
    owners = other_owners(name)
    found = f"{place} of the distribution {owners[0]}" if owners else place
    way_out = "uninstall that one" if owners else "take its folder off PYTHONPATH or rename it"
    return f"{found} is imported in place of the package {name!r} of splitleak; {way_out}"


def other_owners(name: str) -> list[str]:
    """Installed distributions besides ours that have a top-level package ``name``; takes a while."""
    return sorted(set(packages_distributions().get(name, ())) - {"splitleak"})
