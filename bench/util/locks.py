"""Locks between processes of one machine, or of several on a file system that has them.

Where a disk has no ``flock`` (some NFS and Lustre mounts), a file beside the lock stands for it.
Such a file may outlive its holder: one of a process of this machine is removed by the next who
asks, one of another machine is not.
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
    """Hold an exclusive lock on the file ``path``, waiting for it; a process that dies lets go of
    it.

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
    """Hold the lock if nobody else does; says whether it is held."""
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
    """The lock, held.

    Raises:
        Timeout: it is held by another, and ``waiting`` is off.
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
