"""In what two cells' specs differ, in words: other code, another version, another model or data set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_ABSENT = object()
_KINDS = {"capture.victim": "victim", "capture.adversary": "attack", "attack.attack": "attack"}
_CODE = {"capture.code": "training and recording", "code": "attack runs and scoring"}
_FOLLOWS = frozenset({"label"})
"""Fields that repeat others."""
_SHOWN = 40


def spec_difference(then: str, now: str) -> tuple[str, ...]:
    """What the second spec has otherwise than the first, each as a part of a sentence.

    Args:
        then, now: canonical JSON of two cells.

    Returns:
        Parts such as ``other code of defence timestep`` or ``epochs 5 (now 6)``; sorted, empty
        where they agree.
    """
    before, after = _tree(then), _tree(now)
    found = {_words(path, old, new, after) for path, old, new in _leaves((), before, after)}
    return tuple(sorted(found - {""}))


def _tree(spec: str) -> Any:
    try:
        return json.loads(spec)
    except ValueError:
        return {}


def _leaves(
    path: tuple[str, ...], old: Any, new: Any
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """The places where two trees differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys((*old, *new)):
            yield from _leaves((*path, name), old.get(name, _ABSENT), new.get(name, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _leaves((*path, str(i)), one, other)
    elif old != new:
        yield path, old, new


def _words(path: tuple[str, ...], old: Any, new: Any, after: Any) -> str:
    last = path[-1] if path else "spec"
    if last in _FOLLOWS:
        return ""
    owner = _plugin(path[:-1], after)
    if last.startswith("code"):
        return f"other code of {owner or _CODE.get('.'.join(path), 'the bench')}"
    if last == "model_hash":
        return "other files of the model"
    if last == "data_hash":
        return "other records of the data set"
    if "versions" in path:
        return f"{last} {_shown(old)} (now {_shown(new)})"
    if len(path) > 1 and path[-2] == "params" and (owner := _plugin(path[:-2], after)):
        return f"{last} of {owner} {_shown(old)} (now {_shown(new)})"
    return f"{last if not last.isdigit() else path[-2]} {_shown(old)} (now {_shown(new)})"


def _plugin(path: tuple[str, ...], tree: Any) -> str:
    """``defence timestep`` of the path to a plugin's spec; empty where there is none."""
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


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
