"""Chooses the split of a folder that holds several, with the names that ``datasets`` knows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from bench.data.folder.params import FolderParams
from bench.util.errors import DataError

WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SEPARATORS = re.compile(r"[-._ 0-9]+")

T = TypeVar("T")


def split_word(name: str) -> str | None:
    """Return ``train``, ``validation`` or ``test`` if the first or last word of a name means it."""
    parts = [part for part in _SEPARATORS.split(name.lower()) if part]
    ends = {parts[0], parts[-1]} if parts else set()
    return next((split for split, words in WORDS.items() if ends & set(words)), None)


def is_split(name: str, wanted: str) -> bool:
    """Return whether a folder or split of this name is the one that a user asks for."""
    return name == wanted or (
        split_word(name) is not None and split_word(name) == split_word(wanted)
    )


def choose(found: Mapping[str, T], params: FolderParams, root: Path, what: str) -> tuple[str, T]:
    """Return the only part, or the one that the user asks for.

    Args:
        found: the parts by label, a path whose last part names the split.
        params: what the user chose.
        root: the folder, for messages.
        what: the kind of the parts, for messages.

    Raises:
        DataError: several parts are possible, or none.
    """
    if params.split:
        chosen = {label: part for label, part in found.items() if label == params.split.strip("/")}
        chosen = chosen or {
            k: part for k, part in found.items() if is_split(k.rpartition("/")[2], params.split)
        }
        if not chosen:
            there = f"; it has {what} in {quoted_list(found)}" if found else ""
            raise DataError(f"{root}: has no split {params.split!r}{there}")
    else:
        chosen = dict(found)
    if len(chosen) > 1:
        last = next(iter(chosen)).rpartition("/")[2]
        same = [label for label in chosen if label.rpartition("/")[2] == last]
        choice = next(iter(chosen)) if len(same) > 1 else last
        raise DataError(
            f"{root}: has {what} in {quoted_list(chosen)}; choose one with "
            f"{params.say(split=choice)}"
        )
    return next(iter(chosen.items()))


def quoted_list(labels: Iterable[str], most: int = 6) -> str:
    """Return names for a sentence, at most the first few of them."""
    names = [repr(label or ".") for label in labels]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
