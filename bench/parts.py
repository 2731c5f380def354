"""What a cell is put together from: plugins with their parameters, the code beside them, extractors, a device."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bench.backbones.base import BackboneSet
from bench.code_identity import Root
from bench.errors import RequestError
from bench.guest_identity import plugin_code
from bench.plugin import Plugin
from bench.rows import make_rows
from bench.spec import PluginSpec

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
    shown = [f"{k}={_shown(v)}" for k, v in sorted(params.items()) if k not in plain or plain[k] != v]
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
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict) else str(value)


def cell_roots() -> tuple[Root, ...]:
    """Functions that turn a capture into rows, apart from those of attack and metrics."""
    from bench.attempt import choose_targets, run_attack
    from bench.backbones.select import load_backbones
    from bench.judging import score_attempt
    from bench.leakage import leakage

    return choose_targets, run_attack, score_attempt, leakage, make_rows, load_backbones


def backbone_names(backbones: BackboneSet) -> tuple[str, ...]:
    """``role=name`` of each extractor."""
    roles: Sequence[str] = ("identity", "distribution", "perceptual", "prompt")
    return tuple(f"{role}={getattr(backbones, role).name}" for role in roles)


def resolve_device(name: str) -> str:
    """``auto`` is the GPU where there is one, else the CPU.

    Raises:
        RequestError: torch knows no such device, or it is not there.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise RequestError(f"device {name!r} is not available here; use cpu, or leave it at auto") from error
    return name
