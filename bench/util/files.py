"""Reading and writing of small files, so that a crash or a full disk loses nothing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from bench.util.errors import BenchError, DataError


class DiskFullError(BenchError):
    """There is no space to write; what was there before is unchanged."""

    exit_code = 3


class NotWritableError(BenchError):
    """The place is read-only for this user, or is no directory."""


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a failed write into one sentence that names the place.

    Raises:
        DiskFullError: no space or quota left.
        NotWritableError: the place cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no space left while writing under {path}; free some and run again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise NotWritableError(
                f"cannot write under {path}: {error.strerror}; choose another --results DIR"
            ) from error
        raise


def write_reports(
    folder: Path, texts: Mapping[str, str], show: Callable[[str], None] | None
) -> bool:
    """Write files by name, or show the last of them where the folder is read-only.

    Args:
        folder: the folder.
        texts: the content of each file by name.
        show: takes the last text where the folder is read-only; None raises an error instead.

    Returns:
        Whether the files were written.

    Raises:
        NotWritableError: the folder is read-only, and ``show`` is None.
    """
    try:
        with disk_errors(folder):
            for name, text in texts.items():
                write_text(folder / name, text)
    except NotWritableError:
        if show is None:
            raise
        show(list(texts.values())[-1])
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Replace a file by a UTF-8 text, as a whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: the file is missing or malformed.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: file is missing") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path}: not valid JSON") from error


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_manifest(root: Path) -> dict[str, str]:
    """Return the sha256 of every file below ``root``, by relative path."""
    return {
        p.relative_to(root).as_posix(): sha256_file(p)
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


def process_alive(pid: int) -> bool:
    """Return whether a process of this machine still runs."""
    return bool(psutil.pid_exists(pid))


def remove_tree(path: Path) -> None:
    """Delete a directory if it is there."""
    shutil.rmtree(path, ignore_errors=True)
