"""Keeps the working directory off the import path, so that files in it never replace our modules.

Python puts the working directory first for ``python -m``, and where PYTHONPATH has an empty item (a
stray colon). A user's ``queue.py`` or ``attacks/`` would then be imported in place of ours.
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
    """Return PYTHONPATH without its empty items, which stand for the working directory."""
    return os.pathsep.join(filter(None, pythonpath.split(os.pathsep)))


def child_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child process that is started with ``-P``.

    The folders that the user named in PYTHONPATH stay.
    """
    named = without_empty_items(base.get("PYTHONPATH", ""))
    rest = {name: value for name, value in base.items() if name != "PYTHONPATH"}
    return {**rest, "PYTHONPATH": named} if named else rest


def leave_working_directory() -> None:
    """Remove the working directory from the import path if this process is one of our programs.

    The function is called while the package is imported, before any module that a file of the user
    could replace. A program that imports the package keeps its path.
    """
    program = sys.argv[0] if sys.argv else ""
    # While Python looks for the module of ``-m``, sys.argv holds "-m"; it is set afterwards.
    if program == "-m" and not sys.flags.safe_path:
        del sys.path[0]
    if program == "-m" or Path(program).stem == "bench":
        leave_empty_items()


def leave_empty_items() -> None:
    """Remove what empty items of PYTHONPATH added, unless this package lies there."""
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
    """Return in words what is imported in place of our top-level package ``name``, else "".

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
    """Return other installed distributions that have a top-level package ``name``; this is slow."""
    return sorted(set(packages_distributions().get(name, ())) - {"splitleak"})
