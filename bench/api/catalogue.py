"""What is installed: plugins by kind, what they are, and their classes."""

from __future__ import annotations

from typing import Literal, overload

import pandas

from bench.interfaces.attack import Attack
from bench.interfaces.dataset import Dataset
from bench.interfaces.defense import Defense
from bench.interfaces.metric import Metric
from bench.interfaces.plugin import Plugin
from bench.interfaces.registry import KINDS, Registry, listing
from bench.interfaces.victim import Victim
from bench.reports.describe import describe_text
from bench.settings.names import parse_plugin
from bench.util.errors import RequestError
from bench.util.text import suggestion


class Description(str):
    """Text that a notebook shows with its line breaks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def plugins(kind: str) -> pandas.DataFrame:
    """Return the installed plugins of a kind.

    Args:
        kind: ``attacks``, ``defenses``, ``victims``, ``metrics`` or ``datasets``.

    Returns:
        One row for each plugin, sorted by name: ``name``, ``summary`` and ``package``. The summary
        of a plugin that cannot be loaded is the error.

    Raises:
        RequestError: there is no such kind.

    Example:
        >>> plugins("victims").name.tolist()[:2]
        ['centralised', 'federated']
    """
    registry = _registry(kind)
    lines = []
    for name in registry.names():
        try:
            summary = registry.load(name).card.summary
        except RequestError as error:
            summary = str(error)
        package = "" if registry.is_clash(name) else str(registry.origin(name))
        lines.append({"name": name, "summary": summary, "package": package})
    return pandas.DataFrame(lines, columns=["name", "summary", "package"])


def describe(name: str, *, model: str | None = None) -> str:
    """Return what a plugin, a threat model or a channel is, and the parameters that it takes.

    Args:
        name: as ``bench ls`` lists it, or the name of a threat model or a channel.
        model: of a victim, the model that its text is about.

    Raises:
        RequestError: nothing has that name.

    Example:
        >>> print(describe("snr-budget"))  # doctest: +ELLIPSIS
        defense snr-budget
        ...
    """
    return Description(describe_text(name, model=model))


@overload
def load(kind: Literal["attacks"], name: str) -> type[Attack]: ...
@overload
def load(kind: Literal["defenses"], name: str) -> type[Defense]: ...
@overload
def load(kind: Literal["victims"], name: str) -> type[Victim]: ...
@overload
def load(kind: Literal["metrics"], name: str) -> type[Metric]: ...
@overload
def load(kind: Literal["datasets"], name: str) -> type[Dataset]: ...
@overload
def load(kind: str, name: str) -> type[Plugin]: ...
def load(kind: str, name: str) -> type[Plugin]:
    """Return the class of a plugin.

    Args:
        kind: ``attacks``, ``defenses``, ``victims``, ``metrics`` or ``datasets``.
        name: of the plugin, without parameters.

    Raises:
        RequestError: there is no such kind or plugin, or the plugin cannot be loaded.

    Example:
        >>> load("attacks", "closed-form").default_budget.iterations
        0
    """
    return _registry(kind).load(name)


@overload
def build(kind: Literal["attacks"], text: str) -> Attack: ...
@overload
def build(kind: Literal["defenses"], text: str) -> Defense: ...
@overload
def build(kind: Literal["victims"], text: str) -> Victim: ...
@overload
def build(kind: Literal["metrics"], text: str) -> Metric: ...
@overload
def build(kind: Literal["datasets"], text: str) -> Dataset: ...
@overload
def build(kind: str, text: str) -> Plugin: ...
def build(kind: str, text: str) -> Plugin:
    """Return a plugin with its parameters, as the command line writes them.

    Args:
        kind: ``attacks``, ``defenses``, ``victims``, ``metrics`` or ``datasets``.
        text: ``name`` or ``name:key=value,…``.

    Raises:
        RequestError: there is no such kind or plugin, or a parameter is unknown or impossible.

    Example:
        >>> build("defenses", "timestep:t_min=900").params.t_min
        900
    """
    name, values = parse_plugin(text)
    plugin: Plugin = load(kind, name).build(values)
    return plugin


def _registry(kind: str) -> Registry[Plugin]:
    """Return the registry of a kind.

    Raises:
        RequestError: there is no such kind.
    """
    if kind not in KINDS:
        raise RequestError(f"unknown kind of plugin {kind!r}{suggestion(kind, KINDS)}")
    return listing(kind)
