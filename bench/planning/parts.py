"""What a cell is put together from: plugins with their parameters, the code beside them, extractors, a device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bench.interfaces.plugin import Plugin
from bench.spec.cell import PluginSpec
from bench.spec.guest_identity import plugin_code

P = TypeVar("P", bound=Plugin)


@dataclass(frozen=True)
class Part(Generic[P]):
    """A plugin class with its resolved parameters."""

    cls: type[P]
    spec: PluginSpec

    def build(self) -> P:
        """A new instance."""
        return self.cls.build(dict(self.spec.params))  # type: ignore[no-any-return]


def plugin_spec(cls: type[Plugin], values: dict[str, Any]) -> PluginSpec:
    """A plugin with its parameters resolved.

    Raises:
        RequestError: a parameter is unknown or impossible.
    """
    params = cls.parse(values).model_dump(mode="json")
    defaults = {
        name: f.get_default(call_default_factory=True)
        for name, f in cls.Params.model_fields.items()
        if not f.is_required()
    }
    plain = {name: _as_json(value) for name, value in defaults.items()}
    shown = [
        f"{k}={_shown(v)}" for k, v in sorted(params.items()) if k not in plain or plain[k] != v
    ]
    return PluginSpec(
        name=cls.name,
        params=params,
        label=cls.name + (":" + ",".join(shown) if shown else ""),
        code=plugin_code(cls),
    )


def _as_json(value: object) -> object:
    """A default in the form that ``model_dump(mode="json")`` gives values: lists for tuples and sets."""
    return list(value) if isinstance(value, tuple | frozenset | set) else value


def _shown(value: object) -> str:
    """A parameter's value as it would be written on the command line."""
    return (
        json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict) else str(value)
    )
