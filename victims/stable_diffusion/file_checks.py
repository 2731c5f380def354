"""Reading a file of a model so that whatever is wrong with it ends in one sentence."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from bench.interfaces import DataError
from bench.util.files import read_json

_POINTER = b"version https://git-lfs.github.com/spec/"


def refuse_pointer(file: Path) -> None:
    """Refuse a file that is missing, empty, or stands for one that Git LFS has not fetched.

    Raises:
        DataError: with the step that mends it.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_POINTER))
    except FileNotFoundError as error:
        raise DataError(f"{file}: file is missing; copy or download the model again") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read, {error.strerror}") from error
    if start == _POINTER:
        clone = next((folder for folder in file.parents if (folder / ".git").exists()), file.parent)
        raise DataError(f"{file} is a Git LFS pointer, not the file; run `git lfs pull` in {clone}")
    if not start:
        raise DataError(f"{file}: the file is empty; copy or download it again")


def read_object(file: Path) -> dict[str, Any]:
    """The content of a JSON file that holds an object.

    Raises:
        DataError: missing, a Git LFS pointer, malformed, or of another kind.
    """
    refuse_pointer(file)
    try:
        content = read_json(file)
    except RecursionError as error:
        raise DataError(f"{file}: not valid JSON") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{file}: holds {_kind(content)}, where an object with named entries belongs"
        )
    return content


def entry(config: dict[str, Any], file: Path, key: str) -> Any:
    """An entry of a configuration that must be there.

    Raises:
        DataError: it is missing or null.
    """
    value = config.get(key)
    if value is None:
        raise DataError(f"{file}: {key} is missing")
    return value


def whole(config: dict[str, Any], file: Path, key: str) -> int:
    """An entry that must be a positive whole number.

    Raises:
        DataError: it is missing or something else.
    """
    value = entry(config, file, key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DataError(f"{file}: {key} is {value!r}, not a positive whole number")
    return value


def _kind(content: Any) -> str:
    if content is None:
        return "null"
    return {list: "a list", str: "a text", bool: "true or false"}.get(type(content), "a number")


def python_command(code: str) -> str:
    """The shell command that runs Python code of one line."""
    return f"python -c {shlex.quote(code)}"
