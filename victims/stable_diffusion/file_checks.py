"""Read the files of a model; every defect ends in an error of one sentence."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from bench.interfaces import DataError
from bench.util.files import read_json

_POINTER = b"version https://git-lfs.github.com/spec/"


def refuse_pointer(file: Path) -> None:
    """Refuse a file that is missing, empty, or a pointer to a file that Git LFS has not fetched.

    Raises:
        DataError: says how to repair the file.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_POINTER))
    except FileNotFoundError as error:
        raise DataError(f"{file}: file is missing; copy or download the model again") from error
    except OSError as error:
        raise DataError(
            f"{file}: the file cannot be read, {error.strerror}; check its permissions"
        ) from error
    if start == _POINTER:
        clone = next((folder for folder in file.parents if (folder / ".git").exists()), file.parent)
        raise DataError(f"{file} is a Git LFS pointer, not the file; run `git lfs pull` in {clone}")
    if not start:
        raise DataError(f"{file}: the file is empty; copy or download it again")


def read_object(file: Path) -> dict[str, Any]:
    """Return the content of a JSON file that holds an object.

    Raises:
        DataError: the file is missing, a Git LFS pointer, malformed, or holds something else.
    """
    refuse_pointer(file)
    try:
        content = read_json(file)
    except RecursionError as error:
        raise DataError(f"{file}: not valid JSON") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{file}: holds {_kind(content)} instead of an object with named entries; copy or "
            "download it again"
        )
    return content


def required_entry(config: dict[str, Any], file: Path, key: str) -> Any:
    """Return an entry that a configuration must have.

    Raises:
        DataError: the entry is missing or null.
    """
    value = config.get(key)
    if value is None:
        raise DataError(f"{file}: {key} is missing")
    return value


def positive_int(config: dict[str, Any], file: Path, key: str) -> int:
    """Return an entry that must be a positive whole number.

    Raises:
        DataError: the entry is missing or something else.
    """
    value = required_entry(config, file, key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DataError(f"{file}: {key} is {value!r}, not a positive whole number")
    return value


def _kind(content: Any) -> str:
    if content is None:
        return "null"
    return {list: "a list", str: "a text", bool: "true or false"}.get(type(content), "a number")


def python_command(code: str) -> str:
    """Return the shell command that runs one line of Python code."""
    return f"python -c {shlex.quote(code)}"


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its class without a message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
