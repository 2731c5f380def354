"""Read plugin names with parameters, such as ``timestep:t_min=500``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bench.util.errors import RequestError


def parse_plugin(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``name`` or ``name:key=value,key=value`` into a name and values.

    A value is read as JSON where it can be, else as text. A list is written in brackets:
    ``name:groups=[3,4]``, ``name:words=[red,blue]``. A comma, or a ``+`` between defences, does not
    divide what is in brackets or quotation marks.

    Raises:
        RequestError: a part has no ``=``, the name is empty or a bracket is not closed.
    """
    name, _, rest = text.strip().partition(":")
    if not name:
        raise RequestError(f"{text!r}: a plugin name is missing")
    values: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in _divided(rest, ","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise RequestError(f"{text!r}: {part!r} must be key=value")
        if key.strip() in values:
            raise RequestError(f"{text!r}: {key.strip()!r} is given twice")
        values[key.strip()] = _value(value.strip())
    return name, values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        if text.startswith("[") and text.endswith("]"):
            return [_value(part.strip()) for part in _divided(text[1:-1], ",") if part.strip()]
        return text


_OPEN, _CLOSE = "[{", "]}"


def _divided(text: str, mark: str) -> list[str]:
    """Divide ``text`` at ``mark``, but not in brackets, quotation marks or numbers (``1e+3``).

    Raises:
        RequestError: a bracket is not closed, or never opened.
    """
    parts, begin, depth, quoted = [], 0, 0, False
    for i, sign in enumerate(text):
        if sign == '"' and text[i - 1 : i] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif sign in _OPEN or sign in _CLOSE:
            depth += 1 if sign in _OPEN else -1
            if depth < 0:
                break
        elif sign == mark and not depth and not (mark == "+" and _EXPONENT.search(text[:i])):
            parts.append(text[begin:i])
            begin = i + 1
    if depth:
        raise RequestError(f"{text!r}: brackets do not match")
    return [*parts, text[begin:]]


_EXPONENT = re.compile(r"[=,\[]\s*-?\d+(\.\d*)?[eE]$")


def parse_dataset(text: str) -> tuple[str, dict[str, Any]]:
    """Read the name of a data set as :func:`parse_plugin` does, and ``folder:PATH`` as its path.

    Raises:
        RequestError: a part cannot be read.
    """
    name, _, location = text.strip().partition(":")
    if (
        name == "folder"
        and location
        and ("=" not in location or Path(location).expanduser().is_dir())
    ):
        return name, {"path": location}
    return parse_plugin(text)


def parse_stack(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Read ``a+b:key=value`` into a list of names and values.

    Raises:
        RequestError: a part cannot be read.
    """
    return [parse_plugin(part) for part in _divided(text, "+")]
