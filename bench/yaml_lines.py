"""YAML files, read so that every mistake can be told with its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.errors import RequestError

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """What a file says, and where.

    Attributes:
        lines: line number, from 1, of each key and list item by its way from the top.
    """

    path: Path
    content: Any
    lines: Mapping[Place, int]

    def where(self, place: Place) -> str:
        """``file, line N`` of a place, or of the nearest thing around it."""
        while place not in self.lines:
            place = place[:-1]
        return f"{self.path.name}, line {self.lines[place]}"


def read_yaml(path: Path) -> Document:
    """Read a file; nothing but plain values can come out of it.

    Raises:
        RequestError: it cannot be read, is not YAML or gives a key twice.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: cannot be read as a text file") from error
    lines: dict[Place, int] = {(): 1}
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        content = None if node is None else _build(loader, node, (), lines, path)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = 1 if mark is None else mark.line + 1
        raise RequestError(f"{path.name}, line {line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise RequestError(f"{path.name}: not valid YAML") from error
    return Document(path, content, lines)


def _build(loader: yaml.SafeLoader, node: yaml.Node, place: Place, lines: dict[Place, int], path: Path) -> Any:
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[*place, i] = item.start_mark.line + 1
        return [_build(loader, item, (*place, i), lines, path) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, value in node.value:
            key = loader.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise RequestError(f"{path.name}, line {line}: the key {key!r} must be a word")
            if key in found:
                raise RequestError(f"{path.name}, line {line}: {key!r} is given twice")
            lines[*place, key] = line
            found[key] = _build(loader, value, (*place, key), lines, path)
        return found
    return loader.construct_object(node, deep=True)
