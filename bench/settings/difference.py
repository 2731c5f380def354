"""Say in words how the specifications of two cells differ, such as in code, versions or model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_ABSENT = object()
_KINDS = {"capture.victim": "victim", "capture.adversary": "attack", "attack.attack": "attack"}
_CODE = {"capture.code": "training and recording", "code": "attack runs and scoring"}
_DERIVED = frozenset({"label"})
"""Fields that repeat others."""
_LONGEST = 40  # characters of a value


def spec_difference(then: str, now: str) -> tuple[str, ...]:
    """Return how the second specification differs from the first, as parts of a sentence.

    Args:
        then, now: canonical JSON of two cells.

    Returns:
        Parts such as ``other code of defence timestep`` or ``epochs 5 (now 6)``; sorted, empty
        where they agree.
    """
    before, after = _tree(then), _tree(now)
    parts = {_words(path, old, new, after) for path, old, new in _leaves((), before, after)}
    return tuple(sorted(parts - {""}))


def _tree(spec: str) -> Any:
    try:
        return json.loads(spec)
    except ValueError:
        return {}


def _leaves(
    path: tuple[str, ...], old: Any, new: Any
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield the places where two trees differ, with both values."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys((*old, *new)):
            yield from _leaves((*path, name), old.get(name, _ABSENT), new.get(name, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _leaves((*path, str(i)), one, other)
    elif old != new:
        yield path, old, new


def _words(path: tuple[str, ...], old: Any, new: Any, after: Any) -> str:
    """Return one difference in words; empty where other differences imply it.

    Args:
        path: the place in the specification.
        after: the whole second specification.
    """
    last = path[-1] if path else "spec"
    if last in _DERIVED:
        return ""
    owner = _plugin(path[:-1], after)
    if last.startswith("code"):
        return f"other code of {owner or _CODE.get('.'.join(path), 'the bench')}"
    if last == "model_hash":
        return "other files of the model"
    if last == "data_hash":
        return "other records of the data set"
    if "versions" in path:
        return f"{last} {_as_text(old)} (now {_as_text(new)})"
    if len(path) > 1 and path[-2] == "params" and (owner := _plugin(path[:-2], after)):
        return f"{last} of {owner} {_as_text(old)} (now {_as_text(new)})"
    return f"{last if not last.isdigit() else path[-2]} {_as_text(old)} (now {_as_text(new)})"


def _plugin(path: tuple[str, ...], tree: Any) -> str:
    """Return ``defence timestep`` for the path to a plugin; empty where no plugin is there."""
    node = tree
    for part in path:
        try:
            node = node[int(part)] if isinstance(node, list) else node[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return ""
    if not (isinstance(node, Mapping) and "name" in node and path):
        return ""
    kind = _KINDS.get(".".join(path)) or {
        "defense": "defence",
        "metrics": "metric",
        "dataset": "data set",
    }.get(path[-1] if not path[-1].isdigit() else path[-2], "plugin")
    return f"{kind} {node['name']}"


def _as_text(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
