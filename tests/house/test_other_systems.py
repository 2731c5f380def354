"""Systems without POSIX modules and signals, and users without a home or a name."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from bench.cli.main import main
from bench.interfaces import RequestError
from bench.running.engines import worker_process
from bench.running.engines.serial import _alarm
from bench.util.files import process_alive

IMPORT_ALL = """
import builtins, importlib, pkgutil
real = builtins.__import__
rooms = ("bench", "attacks", "defenses", "victims")
def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "").partition(".")[0]
    if importer in rooms and name in ("fcntl", "resource", "pwd", "grp", "termios"):
        raise ImportError(name)
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = guarded
packages = [importlib.import_module(room) for room in rooms]
walked = [pkgutil.walk_packages(p.__path__, p.__name__ + ".") for p in packages]
names = [found.name for modules in walked for found in modules]
for name in names:
    importlib.import_module(name)
from victims.common.measure import psutil, peak_memory_mib
memory = type("I", (), {"peak_wset": 3 * 2**20})()
psutil.Process = lambda: type("P", (), {"memory_info": lambda self: memory})()
print(len(names), peak_memory_mib("cpu"))
"""

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""

NAMELESS = """
import os, pwd, sys
def gone(*key):
    raise KeyError(key)
pwd.getpwuid = pwd.getpwnam = gone
for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
    os.environ.pop(name, None)
from bench.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_every_module_is_imported_without_posix_modules(tmp_path: Path) -> None:
    """Only our own imports are refused: libraries have other ways where a module is missing."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    count, peak = done.stdout.split()
    assert int(count) > 200
    assert float(peak) == 3.0


def test_a_worker_and_its_children_are_killed_without_process_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "killpg")
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert process_alive(child)
    worker_process._kill_group(process)
    assert process.returncode != 0
    process.stdout.close()
    with contextlib.suppress(
        psutil.NoSuchProcess
    ):  # it is gone, or soon a zombie that waits for its new parent
        deadline = time.monotonic() + 60
        while psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_the_serial_engine_says_where_it_keeps_no_time_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(signal, "SIGALRM")
    with (
        pytest.raises(
            RequestError, match="has no time limit on this system; use --engine processes"
        ),
        _alarm(1.0),
    ):
        pass


@pytest.mark.parametrize("command", [["ls", "attacks"], ["describe", "none"]], ids=" ".join)
def test_a_user_without_home_and_name(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NAMELESS, *command], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_a_path_of_nobody(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["run", "--model", "~nobody-of-that-name/sd", "--results", str(tmp_path)]
    )
    assert done.exit_code == 2
    assert (
        done.output
        == "bench: a path begins with ~, which names no home directory here; write it in full\n"
    )
