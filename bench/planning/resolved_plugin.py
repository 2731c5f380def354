"""A plugin class together with its parameters, all of them resolved."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bench.interfaces.plugin import Plugin
from bench.settings.cell import PluginSpec
from bench.settings.guest_identity import plugin_code

P = TypeVar("P", bound=Plugin)


@dataclass(frozen=True)
class ResolvedPlugin(Generic[P]):
    """A plugin class with its resolved parameters."""

    cls: type[P]
    spec: PluginSpec

    @classmethod
    def from_values(cls, plugin: type[P], values: dict[str, Any]) -> ResolvedPlugin[P]:
        """Resolve the parameters of a plugin; those that ``values`` lacks take their defaults.

        Raises:
            RequestError: a parameter is unknown or impossible.
        """
        return cls(plugin, plugin_spec(plugin, values))

    def build(self) -> P:
        """Return a new instance."""
        return self.cls.build(dict(self.spec.params))  # type: ignore[no-any-return]


def plugin_spec(cls: type[Plugin], values: dict[str, Any]) -> PluginSpec:
    """Return the specification of a plugin with its parameters resolved.

    Raises:
        RequestError: a parameter is unknown or impossible.
    """
    params = cls.parse(values).model_dump(mode="json")
    defaults = {
        name: _as_json(field.get_default(call_default_factory=True))
        for name, field in cls.Params.model_fields.items()
        if not field.is_required()
    }
    changed = [
        f"{name}={_as_text(value)}"
        for name, value in sorted(params.items())
        if name not in defaults or defaults[name] != value
    ]
    return PluginSpec(
        name=cls.name,
        params=params,
        label=cls.name + (":" + ",".join(changed) if changed else ""),
        code=plugin_code(cls),
    )


def _as_json(value: object) -> object:
    """Return a default as ``model_dump(mode="json")`` gives values: lists for tuples and sets."""
    return list(value) if isinstance(value, tuple | frozenset | set) else value


def _as_text(value: object) -> str:
    """Return a parameter's value as it is written on the command line."""
    is_json = isinstance(value, list | dict)
    return json.dumps(value, separators=(",", ":")) if is_json else str(value)
