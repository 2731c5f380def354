"""Recognises the layout of a folder, and reads its entries."""

from __future__ import annotations

import re
from pathlib import Path

from bench.data.folder.entries import FolderContents, from_table
from bench.data.folder.file_entries import from_files
from bench.data.folder.files import SUFFIXES, Listing, count_with_example, list_folder
from bench.data.folder.params import FolderParams
from bench.data.folder.parquet import has_pictures
from bench.data.folder.splits import choose, quoted_list, split_word
from bench.data.folder.tables import read_shards, read_table
from bench.util.errors import DataError

_SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\b.*")


def read_folder(params: FolderParams, *, hints: bool) -> FolderContents:
    """Return every picture of a folder, without opening any.

    Metadata come first, then Parquet files with pictures inside, then files alone.

    Args:
        params: the folder and what the user chose.
        hints: whether the folder's hints are wanted.

    Raises:
        DataError: the message names the file and the line, or the choice that the user has to make.
    """
    listing = list_folder(Path(params.path).expanduser())
    if listing.tables:
        reading = _from_tables(listing, params, hints=hints)
    elif shards := _shards(listing):
        reading = _from_shards(listing, shards, params, hints=hints)
    elif listing.pictures:
        reading = from_files(listing, params, hints=hints)
        unread = (*listing.unread, *listing.shards)
        if unread:
            note = (
                f"{listing.root}: {count_with_example(unread, 'files')} are not read, metadata "
                "must be called metadata.jsonl, metadata.csv or metadata.parquet"
            )
            reading = FolderContents(reading.entries, (*reading.notes, note))
    else:
        raise DataError(_nothing(listing))
    return FolderContents(reading.entries, (*listing.notes(), *reading.notes))


def _from_tables(listing: Listing, params: FolderParams, *, hints: bool) -> FolderContents:
    places: dict[str, list[str]] = {}
    for name in listing.tables:
        places.setdefault(name.rpartition("/")[0], []).append(name)
    if "" in places and not params.split:
        place, names = "", places[""]
        others = [name for name in listing.tables if name not in names]
    else:
        place, names = choose(
            {p: n for p, n in places.items() if p}, params, listing.root, "metadata"
        )
        others = []
    if len(names) > 1:
        raise DataError(
            f"{listing.root / place}: has {quoted_list(n.rpartition('/')[2] for n in names)}; keep "
            "one of them"
        )
    reading = from_table(listing, read_table(listing.root, names[0]), params, hints=hints)
    notes: list[str] = []
    if others:
        notes.append(
            f"{listing.root}: {count_with_example(others, 'more metadata files')} in sub-folders "
            "are not read"
        )
    if place and not params.split:
        rest = [name for name in listing.pictures if not name.startswith(f"{place}/")]
        left = (
            f"; {count_with_example(rest, 'pictures')} outside of it are left out" if rest else ""
        )
        notes.append(f"{listing.root}: metadata are in {place!r}, which is read{left}")
    return FolderContents(reading.entries, (*notes, *reading.notes))


def _shards(listing: Listing) -> dict[str, list[str]]:
    """Return Parquet files with pictures inside, by split.

    The label is a path whose last part is the split.
    """
    found: dict[str, list[str]] = {}
    for name in listing.shards:
        if not has_pictures(listing.root / name):
            continue
        folder, _, file = name.rpartition("/")
        stem = file.removesuffix(".parquet")
        shard = _SHARD.fullmatch(stem)
        word = shard["split"] if shard else stem if split_word(stem) else ""
        found.setdefault("/".join(part for part in (folder, word) if part), []).append(name)
    return found


def _from_shards(
    listing: Listing, shards: dict[str, list[str]], params: FolderParams, *, hints: bool
) -> FolderContents:
    _, names = choose(shards, params, listing.root, "Parquet files")
    names = sorted(names)
    table = read_shards(listing.root, names, names[0].rpartition("/")[0])
    reading = from_table(listing, table, params, hints=hints)
    notes: list[str] = []
    last = _SHARD.fullmatch(names[-1].removesuffix(".parquet"))
    if last and int(last["total"]) != len(names):
        notes.append(
            f"{listing.root}: {len(names)} of {int(last['total'])} Parquet files "
            "of this split are here"
        )
    return FolderContents(reading.entries, (*notes, *reading.notes))


def _nothing(listing: Listing) -> str:
    """Return why there is nothing to read, with the remedy where there is one."""
    if listing.archives:
        found = count_with_example(listing.archives, "archives or Arrow files")
        return (
            f"{listing.root}: no pictures, but {found}; unpack archives, save Arrow data sets with "
            "to_parquet"
        )
    reasons = "; ".join(listing.notes()).replace(f"{listing.root}: ", "")
    because = f"; {reasons}" if reasons else ""
    return f"{listing.root}: no pictures ({', '.join(sorted(SUFFIXES))}) in this folder{because}"
