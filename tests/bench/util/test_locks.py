"""Locks hold where the disk has ``flock`` and where it has not."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.ledger.ledger import Ledger
from bench.util.locks import hold_lock, try_lock


@pytest.fixture(
    params=[None, errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP],
    ids=["flock", "ENOSYS", "ENOLCK", "EOPNOTSUPP"],
)
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """A disk that answers ``flock`` with an error, or works."""
    if request.param is not None:

        def refuse(fd: int, operation: int) -> None:
            raise OSError(request.param, os.strerror(request.param))

        monkeypatch.setattr(fcntl, "flock", refuse)
    return request.param


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_lock_excludes_and_is_let_go(disk: int | None, tmp_path: Path) -> None:
    path = tmp_path / "locks" / "one"
    for _ in range(2):
        with hold_lock(path), try_lock(path) as free:
            assert not free
        with try_lock(path) as free:
            assert free
    with pytest.raises(ZeroDivisionError), hold_lock(path):
        raise ZeroDivisionError
    with try_lock(path) as free:
        assert free


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_ledger_works_there(disk: int | None, tmp_path: Path) -> None:
    from tests.bench.ledger.test_ledger import SCORES, rows

    Ledger(tmp_path).write("a", "c", "{}", rows("a"), SCORES)
    again = Ledger(tmp_path)
    assert len(again.rows()) == 2
    assert again.damaged == {}


def test_what_a_dead_process_left_does_not_block(tmp_path: Path) -> None:
    """Without ``flock`` a killed holder leaves its file."""
    script = (
        "import os, sys, filelock; "
        "lock = filelock.SoftFileLock(sys.argv[1]); lock.acquire(); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "one.soft")], check=False)
    assert (tmp_path / "one.soft").exists()
    with pytest.MonkeyPatch.context() as patch:

        def refuse(fd: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        patch.setattr(fcntl, "flock", refuse)
        with hold_lock(tmp_path / "one"):
            pass
