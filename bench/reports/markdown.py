"""Writes Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; cells are written as they are, see :func:`escaped`."""
    return [_line(heads), "|" + "---|" * len(heads), *(_line(cells) for cells in rows)]


def escaped(text: str) -> str:
    """Return text that cannot end a cell, start a tag or start a line."""
    for sign, replacement in (("|", "\\|"), ("<", "&lt;"), ("\n", " "), ("\r", " ")):
        text = text.replace(sign, replacement)
    return text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
