"""Output that fits where it goes: signs that an encoding lacks become ASCII ones."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TextIO

_HANDLER = "splitleak.ascii"
_ASCII = {"…": "...", "↓": "v", "→": "->", "±": "+-", "≥": ">=", "≤": "<=", "ε": "eps"}


def _replace(error: UnicodeError) -> tuple[str, int]:
    """An error handler of ``codecs``: the ASCII form of each sign, a question mark where there is none."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_ASCII.get(sign, "?") for sign in signs), error.end


def fit_output() -> None:
    """Make standard output and standard error replace what they cannot encode, instead of raising
    an error.

    A locale without UTF-8 would otherwise end a run at its first arrow, after all the work.
    """
    codecs.register_error(_HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is shown by a terminal that can move its cursor."""
    if stream is None or not stream.isatty():
        return False
    return sys.platform == "win32" or os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
