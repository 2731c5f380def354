"""Finds plugins by entry point, loads them only when asked for, and checks what it loads.

Built-in plugins and those of other packages come the same way. Listing names imports no plugin.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from bench.compat import guard_torchvision
from bench.errors import RequestError
from bench.import_path import other_owners, package_elsewhere
from bench.plugin import Card, Plugin

P = TypeVar("P", bound=Plugin)

KINDS = ("attacks", "defenses", "victims", "metrics", "datasets")


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from: its package with version, and ``module:attribute``."""

    package: str
    target: str

    def __str__(self) -> str:
        return f"{self.target} of {self.package}"


def _origin(point: EntryPoint) -> Origin:
    package = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown package"
    return Origin(package, point.value)


class Registry(Generic[P]):
    """Plugins of one kind.

    Args:
        kind: one of ``KINDS``.
        base: class that every plugin of this kind must extend.
        points: entry points to use instead of the installed ones.
    """

    def __init__(self, kind: str, base: type[P], points: Iterable[EntryPoint] | None = None) -> None:
        self.kind = kind
        self.base = base
        found = entry_points(group=f"splitleak.{kind}") if points is None else points
        self._points: dict[str, list[EntryPoint]] = {}
        for point in found:
            known = self._points.setdefault(point.name, [])
            # An editable install can list one distribution twice; only another target is a clash.
            if all(other.value != point.value for other in known):
                known.append(point)

    def names(self) -> list[str]:
        """All names, sorted; imports nothing."""
        return sorted(self._points)

    def origin(self, name: str) -> Origin:
        """Where ``name`` comes from; imports nothing."""
        return _origin(self._point(name))

    def load(self, name: str) -> type[P]:
        """The plugin class.

        Raises:
            RequestError: unknown name (with the nearest known one), name clash (with both origins),
                import failure, wrong base class, missing card or a name that differs from its entry.
        """
        point = self._point(name)
        origin = _origin(point)
        singular = self.kind[:-1]
        guard_torchvision()
        try:
            cls = point.load()
        except Exception as error:
            why = _shadowed(point) or _shared(point) or str(error)
            raise RequestError(f"{singular} {name!r} ({origin}) cannot be loaded: {why}") from error
        if why := _shadowed(point):
            raise RequestError(f"{singular} {name!r} ({origin}) cannot be loaded: {why}")
        if not (isinstance(cls, type) and issubclass(cls, self.base)):
            raise RequestError(
                f"{singular} {name!r} ({origin}) must extend {self.base.__module__}.{self.base.__name__}"
            )
        if not isinstance(getattr(cls, "card", None), Card):
            raise RequestError(f"{singular} {name!r} ({origin}) has no card")
        if getattr(cls, "name", None) != name:
            raise RequestError(f"{singular} {name!r} ({origin}) calls itself {getattr(cls, 'name', None)!r}")
        return cls

    def _point(self, name: str) -> EntryPoint:
        points = self._points.get(name)
        if not points:
            raise RequestError(f"unknown {self.kind[:-1]} {name!r}{suggestion(name, self.names())}")
        if len(points) > 1:
            both = " and ".join(str(_origin(point)) for point in points)
            raise RequestError(f"{self.kind[:-1]} {name!r} is registered twice: {both}; uninstall one of them")
        return points[0]


def _package_of_ours(point: EntryPoint) -> str:
    """The top-level package of a plugin that comes with this distribution; empty for others."""
    ours = point.dist is not None and point.dist.name == "splitleak"
    return point.module.partition(".")[0] if ours else ""


def _shadowed(point: EntryPoint) -> str:
    """What is imported in place of the package of a plugin of ours, in words."""
    package = _package_of_ours(point)
    return package_elsewhere(package) if package else ""


def _shared(point: EntryPoint) -> str:
    """Which distribution installs files into the package of a plugin of ours, in words."""
    package = _package_of_ours(point)
    others = other_owners(package) if package else []
    return f"the distribution {others[0]} also installs a package {package!r}; uninstall one of them" if others else ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` or a list of what there is, for the end of an error sentence."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}" if names else "; none are installed"


@dataclass(frozen=True)
class Registries:
    """One registry per kind. ``Registries.installed()`` imports the base classes, and so torch."""

    attacks: Registry[Plugin]
    defenses: Registry[Plugin]
    victims: Registry[Plugin]
    metrics: Registry[Plugin]
    datasets: Registry[Plugin]


def listing(kind: str) -> Registry[Plugin]:
    """A registry for listing names only; needs no base class, so imports no torch."""
    return Registry(kind, Plugin)
