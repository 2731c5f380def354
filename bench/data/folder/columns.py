"""Decides which columns of a folder's metadata hold pictures, hints, prompts and identities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from bench.data.folder.files import SUFFIXES
from bench.data.folder.params import NONE, FolderParams
from bench.data.folder.parquet import PackedPicture
from bench.data.folder.tables import MetadataTable
from bench.util.errors import DataError

PICTURES = ("file_name", "image", "image_file_name")
CAPTIONS = ("text", "caption", "prompt", "captions", "prompts", "texts")
IDENTITY = "identity"
FILE_NAME = "_file_name"
"""Ending by which ``datasets`` recognises a column of pictures; its name is then without it."""
_KINDS_OF_HINTS = (
    *(
        "canny",
        "depth",
        "edge",
        "edges",
        "hed",
        "lineart",
        "mask",
        "masks",
        "mlsd",
        "normal",
        "normals",
        "openpose",
    ),
    *(
        "outline",
        "outlines",
        "pose",
        "poses",
        "scribble",
        "scribbles",
        "seg",
        "segmentation",
        "segmentations",
    ),
    *("sketch", "sketches", "softedge"),
)
HINT_WORDS = frozenset(
    (
        *_KINDS_OF_HINTS,
        "condition",
        "conditions",
        "conditioning",
        "control",
        "controls",
        "hint",
        "hints",
    )
)
"""Words in the names of hints, such as ``conditioning_image`` or ``canny_file_name``."""
_SHOWN = 8


@dataclass(frozen=True)
class Columns:
    """The columns that are read.

    Attributes:
        picture: column of the pictures.
        hint: column of the hints, or None.
        caption: column of the prompts, or None.
        identity: column of the identities, or None.
        notes: sentences on what was decided and what is not read.
    """

    picture: str
    hint: str | None
    caption: str | None
    identity: str | None
    notes: tuple[str, ...]


def choose_columns(table: MetadataTable, params: FolderParams, *, hints: bool) -> Columns:
    """Return the columns that a user named, else those whose names are known.

    Args:
        table: the metadata.
        params: what the user chose.
        hints: whether hints are wanted; otherwise it does not matter which column holds them.

    Raises:
        DataError: a named column does not exist, or several columns are possible.
    """
    pictured = [name for name in table.columns if _holds_pictures(table, name)]
    picture = _picture(table, params, pictured)
    caption = _named(table, params.caption_column, "caption_column") or _first(table, CAPTIONS)
    identity = _named(table, params.identity_column, "identity_column") or _first(
        table, (IDENTITY,)
    )
    notes: list[str] = []
    others = [name for name in pictured if name not in (picture, caption, identity)]
    hint = _hint(table, params, picture, others, notes, hints=hints)
    if caption is None:
        notes.append(
            f"{table.name}: no column with prompts ({', '.join(CAPTIONS[:3])}), so that all "
            "prompts are empty"
        )
    unused = [name for name in table.columns if name not in (picture, hint, caption, identity)]
    if unused:
        more = f" and {len(unused) - _SHOWN} more" if len(unused) > _SHOWN else ""
        shown = ", ".join(repr(name) for name in unused[:_SHOWN])
        notes.append(
            f"{table.name}: {'columns' if len(unused) > 1 else 'column'} {shown}{more} not used"
        )
    return Columns(picture, hint, caption, identity, tuple(notes))


def is_hint_name(name: str) -> bool:
    """Return whether the name of a column, folder or file stands for hints."""
    return not HINT_WORDS.isdisjoint(name.lower().replace("-", "_").replace(" ", "_").split("_"))


def _first(table: MetadataTable, names: Sequence[str]) -> str | None:
    """Return the first of these names that is a column."""
    return next((name for name in names if name in table.columns), None)


def _holds_pictures(table: MetadataTable, column: str) -> bool:
    """Return whether a column holds pictures, or names of files with the ending of pictures."""
    first = next((v for row in table.rows if (v := row.fields.get(column)) is not None), None)
    if isinstance(first, dict):
        first = first.get("path")
    if isinstance(first, str):
        return os.path.splitext(first)[1].lower() in SUFFIXES
    return isinstance(first, PackedPicture)


def _named(table: MetadataTable, name: str, parameter: str) -> str | None:
    """Return the column that the user named; as in ``datasets``, ``x`` may mean ``x_file_name``.

    Raises:
        DataError: there is no such column.
    """
    if not name:
        return None
    found = _first(table, (name, name + FILE_NAME, "file_name" if name == "image" else name))
    if found is not None:
        return found
    raise DataError(
        f"{table.name}: no column {name!r} for {parameter}; it has {_listed(table.columns)}"
    )


def _picture(table: MetadataTable, params: FolderParams, pictured: Sequence[str]) -> str:
    """Return the column with the records' pictures."""
    if named := _named(table, params.image_column, "image_column"):
        return named
    for name in PICTURES:
        if name in table.columns and (name == "file_name" or name in pictured):
            return name
    if {"source", "target"} <= set(pictured):  # the ControlNet tutorial: from a hint to a picture
        return "target"
    plain = [name for name in pictured if not is_hint_name(name)]
    if len(plain) == 1:
        return plain[0]
    if not pictured:
        first = table.rows[0].where if table.rows else table.name
        raise DataError(f"{first}: column 'file_name' is missing")
    raise DataError(
        f"{table.name}: pictures are in columns {_listed(pictured)}; say which are the records "
        f"with {params.say(image_column=(plain or list(pictured))[0])}"
    )


def _hint(
    table: MetadataTable,
    params: FolderParams,
    picture: str,
    others: Sequence[str],
    notes: list[str],
    *,
    hints: bool,
) -> str | None:
    if params.condition_column == NONE:
        return None
    if named := _named(table, params.condition_column, "condition_column"):
        return named
    if "conditioning_image" in table.columns:
        return "conditioning_image"
    if picture == "target" and "source" in others:
        return "source"
    called = [name for name in others if is_hint_name(name)]
    # Without a name that says so, only what ``datasets`` takes for a picture can be the trainer's
    # second one.
    taken = called or [
        name for name in others if name.endswith(FILE_NAME) or _is_packed(table, name)
    ]
    if len(taken) > 1 and hints:
        raise DataError(
            f"{table.name}: hints may be in columns {_listed(taken)}; say in which with "
            f"{params.say(condition_column=taken[0])}, or that there are none with "
            f"{params.say(condition_column=NONE)}"
        )
    if len(taken) != 1:
        return None
    if hints:
        notes.append(f"{table.name}: hints are taken from column {taken[0]!r}")
    return taken[0]


def _is_packed(table: MetadataTable, column: str) -> bool:
    return any(isinstance(row.fields.get(column), PackedPicture) for row in table.rows[:100])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
