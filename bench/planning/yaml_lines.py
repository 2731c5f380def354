"""Read YAML files so that an error can name the line of every mistake."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.util.errors import RequestError

Place = tuple[str | int, ...]

LARGEST = 2**20
"""Bytes of a file."""

MOST_VALUES = 20_000
"""Values of a file, with aliases written out."""

DEEPEST = 20
"""Levels of lists and mappings."""


@dataclass(frozen=True)
class Document:
    """The content of a file, with line numbers.

    Attributes:
        lines: line number, from 1, of each key and list item, by its place: keys and indices from
            the top.
    """

    path: Path
    content: Any
    lines: Mapping[Place, int]

    def where(self, place: Place) -> str:
        """Return ``file, line N`` of a place, or of the nearest place around it."""
        while place not in self.lines:
            place = place[:-1]
        return f"{self.path.name}, line {self.lines[place]}"


class _Loader(yaml.SafeLoader):
    """Reads plain scalars as YAML 1.2 does.

    ``no``, ``off`` and ``2026-01-01`` are texts, and ``1e-3`` is a number.
    """


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9]+\.[0-9]*|\.?[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})\\Z"), list(_first)
    )

_OCTAL = re.compile(r"[-+]?0[0-9_]+|0o[0-7]+")


def read_yaml(path: Path) -> Document:
    """Read a file into plain values: mappings, lists, texts, numbers, booleans and None.

    Raises:
        RequestError: it cannot be read, is not YAML, gives a key twice, is too large, or has a
            number that readers of YAML understand differently; the sentence names the line.
    """
    text = _text(path)
    lines: dict[Place, int] = {(): 1}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        content = None if node is None else _Builder(loader, path, lines).build(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = 1 if mark is None else mark.line + 1
        raise RequestError(f"{path.name}, line {line}: not valid YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RequestError(
            f"{path.name}, line {line}: not valid YAML: holds a control character"
        ) from error
    except yaml.YAMLError as error:
        raise RequestError(f"{path.name}: not valid YAML") from error
    except RecursionError as error:
        raise RequestError(f"{path.name}: nested too deeply") from error
    return Document(path, content, lines)


def _text(path: Path) -> str:
    """Return the file's text, which must be UTF-8, with or without a byte order mark."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path}: cannot be read as a text file: {error.strerror}") from error
    if len(content) > LARGEST:
        raise RequestError(f"{path.name}: larger than {LARGEST // 2**20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RequestError(
            f"{path.name}, line {line}: cannot be read as a text file: not in UTF-8"
        ) from error


class _Builder:
    """Builds values from nodes and records their lines.

    Args:
        lines: receives the line of each place.
    """

    def __init__(self, loader: yaml.SafeLoader, path: Path, lines: dict[Place, int]) -> None:
        self._loader, self._path, self._lines = loader, path, lines
        self._built = 0

    def build(self, node: yaml.Node, place: Place) -> Any:
        """Return the value of a node; a value that an alias repeats counts each time.

        Raises:
            RequestError: a mistake with its line.
        """
        self._built += 1
        line = node.start_mark.line + 1
        if self._built > MOST_VALUES or len(place) > DEEPEST:
            raise RequestError(
                f"{self._where(line)}: too many or too deeply nested values; are aliases repeated?"
            )
        if isinstance(node, yaml.SequenceNode):
            for i, item in enumerate(node.value):
                self._lines[*place, i] = item.start_mark.line + 1
            return [self.build(item, (*place, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if (
            isinstance(node, yaml.ScalarNode)
            and node.style is None
            and _OCTAL.fullmatch(node.value)
        ):
            raise RequestError(
                f"{self._where(line)}: {node.value[:40]} is octal to some readers and decimal to "
                "others; write it without the leading 0, or in quotes where it is a word"
            )
        try:
            return self._loader.construct_object(node, deep=True)
        except (ValueError, OverflowError, KeyError, AttributeError) as error:  # of explicit tags
            kind = node.tag.rpartition(":")[2]
            raise RequestError(
                f"{self._where(line)}: {str(node.value)[:40]!r} is no value of {kind}"
            ) from error

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise RequestError(f"{self._where(line)}: a key must be a word")
            key = self._loader.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise RequestError(f"{self._where(line)}: the key {key!r} must be a word")
            if key in values:
                raise RequestError(f"{self._where(line)}: {key!r} is given twice")
            self._lines[*place, key] = line
            values[key] = self.build(value, (*place, key))
        return values

    def _where(self, line: int) -> str:
        return f"{self._path.name}, line {line}"
