"""Imports third-party plugins in a separate process, so that listing plugins imports none of them.

Run as ``python -m bench.running.plugin_check KIND/NAME ...``; it prints a line of JSON for each
plugin: its kind and name, and its fault or an empty text.
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

_LIMIT = 120.0  # seconds that all imports of one process may take


def plugin_faults() -> dict[tuple[str, str], list[str]]:
    """Return the faults of third-party plugins by kind and name, without plugins that load."""
    faults: dict[tuple[str, str], list[str]] = {}
    waiting: list[str] = []
    for kind in KINDS:
        registry = listing(kind)
        clashes = registry.faults()
        faults.update({(kind, name): results for name, results in clashes.items()})
        for name in registry.names():
            if not registry.built_in(name) and not registry.is_clash(name):
                waiting.append(f"{kind}/{name}")
    while waiting:
        results, reason = _try_imports(waiting)
        for entry, fault in results.items():
            if fault:
                faults.setdefault(_kind_and_name(entry), []).append(fault)
        waiting = [entry for entry in waiting if entry not in results]
        if waiting:
            faults.setdefault(_kind_and_name(waiting.pop(0)), []).append(reason)
    return faults


def _kind_and_name(entry: str) -> tuple[str, str]:
    kind, _, name = entry.partition("/")
    return kind, name


def _try_imports(entries: Sequence[str]) -> tuple[dict[str, str], str]:
    """Return the faults of the imported entries, and why importing the next one failed.

    A plugin without a fault has an empty text.
    """
    command = [sys.executable, "-P", "-m", "bench.running.plugin_check", *entries]
    environment = child_environment(os.environ)
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT, check=False, env=environment
        )
        output, reason = (
            process.stdout,
            f"importing it ended the process with exit code {process.returncode}",
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        reason = f"importing it took more than {_LIMIT:g} s"
    results = {}
    for line in output.splitlines():
        if line.startswith("["):
            entry, fault = json.loads(line)
            results[str(entry)] = str(fault)
    return results, reason


def _fault(kind: str, name: str) -> str:
    """Return why a plugin cannot be loaded, or an empty text."""
    from bench.planning.plugins import Plugins
    from bench.scoring.rows import check_metric_name
    from bench.util.progress import Silent

    try:
        getattr(Plugins(Silent()), kind).load(name)
        if kind == "metrics":
            check_metric_name(name)
    except RequestError as error:
        return str(error)
    return ""


def main() -> None:
    """Import every plugin that the command line names."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    # What plugins print goes to stderr, so that it cannot mix with the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for entry in sys.argv[1:]:
        answers.write(json.dumps([entry, _fault(*_kind_and_name(entry))]) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
