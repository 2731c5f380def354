"""Tries the plugins of other packages in a process of its own, so that listing them imports none of
them.

Run as ``python -m bench.running.plugin_check KIND/NAME ...``; prints one line of JSON for each: what
was tried, and its fault or an empty text.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from bench.interfaces.registry import KINDS, listing
from bench.util.errors import RequestError
from bench.util.import_path import child_environment

_LIMIT = 120.0  # seconds that the imports of all guests may take


def plugin_faults() -> dict[tuple[str, str], list[str]]:
    """Return what is wrong with the plugins of other packages, by kind and name; those without a fault are left out."""
    found: dict[tuple[str, str], list[str]] = {}
    waiting: list[str] = []
    for kind in KINDS:
        registry = listing(kind)
        clashes = registry.faults()
        found.update({(kind, name): said for name, said in clashes.items()})
        for name in registry.names():
            if not registry.built_in(name) and not registry.is_clash(name):
                waiting.append(f"{kind}/{name}")
    while waiting:
        said, reason = _tried(waiting)
        for entry, fault in said.items():
            if fault:
                found.setdefault(_key(entry), []).append(fault)
        waiting = [entry for entry in waiting if entry not in said]
        if waiting:
            found.setdefault(_key(waiting.pop(0)), []).append(reason)
    return found


def _key(entry: str) -> tuple[str, str]:
    kind, _, name = entry.partition("/")
    return kind, name


def _tried(entries: Sequence[str]) -> tuple[dict[str, str], str]:
    """The faults of entries as far as they could be tried, and why the first of the others could not be."""
    command = [sys.executable, "-P", "-m", "bench.running.plugin_check", *entries]
    environment = child_environment(os.environ)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT, check=False, env=environment
        )
        printed, reason = (
            done.stdout,
            f"importing it ended the process with exit code {done.returncode}",
        )
    except subprocess.TimeoutExpired as error:
        printed = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        reason = f"importing it took more than {_LIMIT:g} s"
    said = {}
    for line in printed.splitlines():
        if line.startswith("["):
            entry, fault = json.loads(line)
            said[str(entry)] = str(fault)
    return said, reason


def _fault(kind: str, name: str) -> str:
    """Why a plugin cannot be loaded, or nothing."""
    from bench.planning.planner import Planner
    from bench.scoring.rows import check_metric_name
    from bench.util.progress import Silent

    try:
        getattr(Planner(Silent()), kind).load(name)
        if kind == "metrics":
            check_metric_name(name)
    except RequestError as error:
        return str(error)
    return ""


def main() -> None:
    """Try every entry of the command line."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(
        sys.stderr.fileno(), sys.stdout.fileno()
    )  # what plugins print must not stand between answers
    for entry in sys.argv[1:]:
        answers.write(json.dumps([entry, _fault(*_key(entry))]) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
