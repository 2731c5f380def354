"""Output in the encoding of its terminal: characters that the encoding lacks become ASCII."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TextIO

_HANDLER = "splitleak.ascii"
_ASCII = {"…": "...", "↓": "v", "→": "->", "±": "+-", "≥": ">=", "≤": "<=", "ε": "eps"}


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Replace characters by their ASCII form or question marks; an error handler of ``codecs``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_ASCII.get(sign, "?") for sign in signs), error.end


def fit_output() -> None:
    """Make standard output and standard error replace characters that they cannot encode.

    Without this, a locale without UTF-8 would end a run at its first arrow, after all the work.
    """
    codecs.register_error(_HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal that can move its cursor."""
    if stream is None or not stream.isatty():
        return False
    return sys.platform == "win32" or os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
