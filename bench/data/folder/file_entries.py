"""Entries of a folder without metadata: pictures with hints and captions in files of equal name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bench.data.folder.captions import Caption, caption_notes, read_caption
from bench.data.folder.columns import HINT_WORDS, is_hint_name
from bench.data.folder.entries import FolderContents, FolderEntry, PictureFile
from bench.data.folder.files import CAPTIONS, Listing, count_with_example
from bench.data.folder.params import NONE, FolderParams
from bench.data.folder.splits import choose, is_split, quoted_list, split_word
from bench.util.errors import DataError

CAPTION_FOLDERS = ("captions", "caption", "prompts", "texts", "text", "txt")
MOST_CAPTION_BYTES = 1 << 20
_TWINS = 0.9
"""Share of common names from which two folders may be pictures and hints."""


def from_files(listing: Listing, params: FolderParams, *, hints: bool) -> FolderContents:
    """Return the pictures of a folder, sorted by name.

    Raises:
        DataError: it is unclear which pictures are records, which split is meant, or which hint
            belongs to which picture.
    """
    pictures, notes = _of_split(listing, params)
    base = os.path.commonpath([os.path.dirname(name) for name in pictures]).replace(os.sep, "/")
    groups: dict[str, list[str]] = {}
    for name in pictures:
        below = os.path.relpath(name, base or ".").replace(os.sep, "/")
        groups.setdefault(below.partition("/")[0] if "/" in below else "", []).append(name)
    hint_group = _hint_group(listing.root, base, groups, params)
    chosen = _picture_groups(listing.root, groups, params, hint_group, notes)
    taken = set().union(*chosen.values())
    records = [name for name in pictures if name in taken]
    if hint_group is None:
        _refuse_hints_beside(listing.root, records, params)
    paired: dict[str, str] = {}
    if hint_group is not None and hints:
        paired = _pair(listing.root, base, chosen, hint_group, groups[hint_group])
        spare = sorted(set(groups[hint_group]) - set(paired.values()))
        notes.append(
            f"{listing.root}: hints are taken from {_place(base, hint_group)!r}, by the names of "
            "their files"
        )
        if spare:
            notes.append(
                f"{listing.root}: {count_with_example(spare, 'hints')} have no picture and are "
                "left out"
            )
    entries, captions, said = [], [], False
    for name in records:
        caption, given = _caption(listing, name, params.seed)
        said |= given
        captions.append(caption)
        hint = PictureFile(listing.root / paired[name]) if name in paired else None
        where = str(listing.root / name)
        entries.append(
            FolderEntry(name, where, PictureFile(listing.root / name), hint, caption.text)
        )
    if said:
        notes += caption_notes(captions, records, params.seed)
    else:
        entries = [
            FolderEntry(e.name, e.where, e.picture, e.hint, _name_in_words(e.name)) for e in entries
        ]
        notes.append(
            f"{listing.root}: no captions, each prompt is the name of its file in words, such as "
            f"{entries[0].text!r}"
        )
    return FolderContents(tuple(entries), tuple(notes))


def _of_split(listing: Listing, params: FolderParams) -> tuple[list[str], list[str]]:
    """Return the pictures of the one split, and a note on the others."""
    for name in listing.pictures:
        if not _is_unicode(name):
            raise DataError(f"{listing.root}: the name of file {name!a} is not UTF-8; rename it")
    splits: dict[str, list[str]] = {}
    for name in listing.pictures:
        folders = name.split("/")[:-1]
        wanted = params.split.strip("/")
        exact = wanted and (
            name.startswith(wanted + "/") or any(is_split(part, wanted) for part in folders)
        )
        found = (
            wanted
            if exact
            else next((word for part in folders if (word := split_word(part))), None)
        )
        splits.setdefault(found or "", []).append(name)
    known = {label: names for label, names in splits.items() if label}
    if not known and not params.split:
        return list(listing.pictures), []
    label, chosen = choose(known, params, listing.root, "pictures")
    rest = sorted(set(listing.pictures) - set(chosen))
    if params.split or not rest:
        return chosen, []
    left = count_with_example(rest, "pictures")
    return chosen, [f"{listing.root}: split {label!r} is read; {left} outside of it are left out"]


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _place(base: str, group: str) -> str:
    """Return a sub-folder as the beginning of its files' names."""
    return "".join(f"{part}/" for part in (base, group) if part)


def _hint_group(
    root: Path, base: str, groups: dict[str, list[str]], params: FolderParams
) -> str | None:
    """Return the sub-folder with the hints, or None."""
    named = params.condition_column.strip("/")
    if named == NONE:
        return None
    if named:
        return _known(root, groups, named, "condition_column")
    if set(groups) == {"source", "target"}:  # the ControlNet tutorial: from a hint to a picture
        return "source"
    called = [
        group
        for group in groups
        if group and is_hint_name(group) and group != params.image_column.strip("/")
    ]
    if len(called) > 1 or (called and len(called) == len(groups)):
        raise DataError(
            f"{root}: sub-folders {quoted_list(called)} may all hold hints; say which with "
            f"{params.say(condition_column=called[0])}, or that there are none with "
            f"{params.say(condition_column=NONE)}"
        )
    if called:
        return called[0]
    first, second, *more = [*groups, "", ""]
    if len(groups) == 2 and "" not in groups and not params.image_column and more:
        names = [set(_keys(_place(base, group), groups[group])) for group in (first, second)]
        if len(names[0] & names[1]) >= _TWINS * max(map(len, names)):
            raise DataError(
                f"{root}: {first!r} and {second!r} hold pictures of the same names; if one of them "
                f"holds the hints, say so with {params.say(condition_column=second)}, else "
                f"{params.say(condition_column=NONE)}"
            )
    return None


def _known(root: Path, groups: dict[str, list[str]], named: str, parameter: str) -> str:
    if named not in groups:
        raise DataError(
            f"{root}: no sub-folder {named!r} with pictures for {parameter}; there are "
            f"{quoted_list(groups)}"
        )
    return named


def _picture_groups(
    root: Path,
    groups: dict[str, list[str]],
    params: FolderParams,
    hint_group: str | None,
    notes: list[str],
) -> dict[str, list[str]]:
    """Return the sub-folders with the records, and add notes on other sub-folders."""
    named = params.image_column.strip("/")
    if named:
        chosen = {_known(root, groups, named, "image_column"): groups[named]}
        rest = sorted(
            n for g, names in groups.items() if g not in (named, hint_group) for n in names
        )
        if rest:
            notes.append(
                f"{root}: {count_with_example(rest, 'pictures')} outside of {named!r} are left out"
            )
        return chosen
    chosen = {group: names for group, names in groups.items() if group != hint_group}
    if len(chosen) > 1:
        notes.append(
            f"{root}: pictures lie in {len(chosen)} folders ({quoted_list(chosen, 4)}); their "
            "names are taken neither for labels nor for identities"
        )
    return chosen


def _keys(place: str, names: Sequence[str]) -> dict[str, str]:
    """Return files below ``place`` by their path from there, without the ending."""
    return {os.path.splitext(name[len(place) :])[0]: name for name in names}


def _bare(stem: str) -> str:
    """Return a name without the word at its end that marks a hint, such as ``_canny``."""
    for separator in "_-. ":
        start, found, word = stem.rpartition(separator)
        if found and word.lower() in HINT_WORDS:
            return start
    return stem


def _pair(
    root: Path, base: str, chosen: dict[str, list[str]], hint_group: str, hint_names: Sequence[str]
) -> dict[str, str]:
    """Return the hint of each picture.

    Raises:
        DataError: a picture has no hint, or two.
    """
    hints: dict[str, str] = {}
    for key, name in _keys(_place(base, hint_group), hint_names).items():
        for form in {key, _bare(key)}:
            if form in hints and _bare(key) == form != key:
                raise DataError(
                    f"{root}: {hints[form]!r} and {name!r} are both called as hints of one picture"
                )
            hints[form] = name
    paired: dict[str, str] = {}
    missing: list[str] = []
    for group, names in chosen.items():
        for key, name in _keys(_place(base, group), names).items():
            full = f"{group}/{key}" if group else key
            hint = (
                hints.get(full) if full in hints else hints.get(key) if len(chosen) == 1 else None
            )
            if hint is None:
                missing.append(name)
            else:
                paired[name] = hint
    if missing:
        raise DataError(
            f"{root}: {count_with_example(sorted(missing), 'pictures')} have no hint of their name "
            f"in {_place(base, hint_group)!r}; add them, or write a metadata.jsonl with file_name "
            "and conditioning_image"
        )
    return paired


def _refuse_hints_beside(root: Path, records: Sequence[str], params: FolderParams) -> None:
    """Refuse a folder with ``000.png`` and ``000_canny.png``, whose hints would become records."""
    if params.condition_column == NONE:
        return
    stems = {os.path.splitext(name)[0]: name for name in records}
    beside = [stem for stem in stems if _bare(stem) != stem and _bare(stem) in stems]
    if beside:
        raise DataError(
            f"{root}: {stems[beside[0]]!r} is called as a hint of {stems[_bare(beside[0])]!r}; "
            "move hints into a sub-folder conditioning_images, or say that there are none with "
            f"{params.say(condition_column=NONE)}"
        )


def _caption(listing: Listing, name: str, seed: int) -> tuple[Caption, bool]:
    """Return the caption in a text file of equal name, and whether there is such a file."""
    stem, _ = os.path.splitext(name)
    folder, _, file = stem.rpartition("/")
    above = folder.rpartition("/")[0]
    beside = [
        f"{'/'.join(filter(None, (place, sub)))}/{file}"
        for place in {above, folder}
        for sub in CAPTION_FOLDERS
    ]
    for candidate in (stem, name, *sorted(beside)):
        for suffix in CAPTIONS:
            if (path := candidate + suffix) in listing.texts:
                where = str(listing.root / path)
                return read_caption(
                    _text(listing.root / path), where, column="text", name=name, seed=seed
                ), True
    return Caption(""), False


def _text(file: Path) -> str:
    """Return the words of a caption file, on one line."""
    try:
        if file.stat().st_size > MOST_CAPTION_BYTES:
            raise DataError(f"{file}: is too long for a caption")
        return " ".join(file.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text; save the file as UTF-8") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error


def _name_in_words(name: str) -> str:
    """Return a prompt for a picture without one."""
    stem = os.path.splitext(name.rpartition("/")[2])[0]
    words = "a photo of " + " ".join(stem.replace("_", " ").replace("-", " ").split())
    return read_caption(words, name, column="text", name=name, seed=0).text
