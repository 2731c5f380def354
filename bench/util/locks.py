"""Locks between processes of one machine, or of several machines on a file system with locks.

Where a file system has no ``flock`` (some NFS and Lustre mounts), a second file replaces the lock.
Such a file may outlive its holder. If the holder was a process of this machine, the next process
that asks removes the file; if it was on another machine, the file stays.
"""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from bench.util.files import disk_errors

_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
_PATIENCE = 60.0  # seconds of waiting for a soft lock after which the user hears of it

warnings.filterwarnings("ignore", message="flock not supported on this filesystem")


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file ``path``; wait until it is free.

    The lock of a process that dies is released.

    Raises:
        BenchError: the place cannot be written.
    """
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquire(path, waiting=True)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Take the lock if it is free, and yield whether it was taken."""
    try:
        lock = _acquire(path, waiting=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _acquire(path: Path, *, waiting: bool) -> BaseFileLock:
    """Return the lock, acquired.

    Raises:
        Timeout: another process holds the lock, and ``waiting`` is false.
    """
    try:
        lock: BaseFileLock = FileLock(path)
        lock.acquire(timeout=-1 if waiting else 0)
        return lock
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in _NO_FLOCK:
            raise
    soft = SoftFileLock(path.with_name(f"{path.name}.soft"))
    try:
        soft.acquire(timeout=_PATIENCE if waiting else 0)
    except Timeout:
        if not waiting:
            raise
        print(
            f"waiting for {soft.lock_file}; delete it if no run is using these results",
            file=sys.stderr,
        )
        soft.acquire()
    return soft
