"""Finds plugins by entry point, loads them only when they are used, and checks what it loads.

Built-in plugins and those of other packages are found in the same way. Listing names imports no
plugin. A name of this project always stands for this project's plugin. ``faults`` lists packages
that use such a name, and packages that cannot be used for other reasons; these disturb only the
runs that ask for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions, entry_points
from typing import Generic, TypeVar

from bench.interfaces.plugin import Card, Plugin
from bench.util.errors import RequestError
from bench.util.import_path import other_owners, package_elsewhere
from bench.util.text import suggestion
from bench.util.torchvision_guard import guard_torchvision

P = TypeVar("P", bound=Plugin)

OURS = "splitleak"
"""The distribution of this project."""

KINDS = ("attacks", "defenses", "victims", "metrics", "datasets")


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from.

    Attributes:
        package: name and version of the distribution.
        target: ``module:attribute`` of the plugin.
    """

    package: str
    target: str

    def __str__(self) -> str:
        return f"{self.target} of {self.package}"


def _origin(point: EntryPoint) -> Origin:
    package = (
        f"{point.dist.name} {point.dist.version}"
        if point.dist is not None
        else "an unknown package"
    )
    return Origin(package, point.value)


class Registry(Generic[P]):
    """Plugins of one kind.

    Args:
        kind: one of ``KINDS``.
        base: class that every plugin of this kind must extend.
        points: entry points to use instead of the installed ones.
    """

    def __init__(
        self, kind: str, base: type[P], points: Iterable[EntryPoint] | None = None
    ) -> None:
        self.kind = kind
        self.base = base
        found = entry_points(group=f"splitleak.{kind}") if points is None else points
        self._points: dict[str, list[EntryPoint]] = {}
        for point in found:
            known = self._points.setdefault(point.name, [])
            # An editable install can list one distribution twice; another target or distribution is
            # a clash.
            if all(
                (other.value, _package(other)) != (point.value, _package(point)) for other in known
            ):
                known.append(point)
        self._shadowed: dict[str, list[EntryPoint]] = {}
        for name, points_of_name in self._points.items():
            ours = [point for point in points_of_name if is_built_in(point)]
            if len(ours) == 1 and len(points_of_name) > 1:
                self._shadowed[name] = [point for point in points_of_name if point is not ours[0]]
                self._points[name] = ours

    def names(self) -> list[str]:
        """Return all names, sorted; imports nothing."""
        return sorted(self._points)

    def built_in(self, name: str) -> bool:
        """Return whether ``name`` stands for a plugin of this project; imports nothing."""
        return all(is_built_in(point) for point in self._points.get(name, ()))

    def is_clash(self, name: str) -> bool:
        """Return whether several packages provide ``name``, so that it cannot be loaded."""
        return len(self._points.get(name, ())) > 1

    def origin(self, name: str) -> Origin:
        """Return where ``name`` comes from; imports nothing.

        Raises:
            RequestError: the name is unknown, or several packages provide it.
        """
        return _origin(self._point(name))

    def faults(self) -> dict[str, list[str]]:
        """Return the faults of installed packages by plugin name, in sentences; imports nothing."""
        kind = self.kind[:-1]
        found: dict[str, list[str]] = {}
        for name, points in self._shadowed.items():
            found[name] = [
                f"{_origin(p)} is not used: {kind} {name!r} is splitleak's own; rename it"
                for p in points
            ]
        for name, points in self._points.items():
            if len(points) > 1:
                found.setdefault(name, []).append(self._twice(name))
            for point in points:
                if not is_built_in(point) and (others := _other_versions(point)):
                    found.setdefault(name, []).append(
                        f"{_origin(point)} is used; there is also {', '.join(others)}"
                    )
        return found

    def load(self, name: str) -> type[P]:
        """Return the plugin class.

        Raises:
            RequestError: the name is unknown (the message gives the nearest known one), several
                packages provide it, the import fails, the class has the wrong base, it has no card,
                or its name differs from its entry point.
        """
        point = self._point(name)
        origin = _origin(point)
        singular = self.kind[:-1]
        guard_torchvision()
        try:
            cls = point.load()
        except (Exception, SystemExit) as error:
            said = next(iter(str(error).strip().splitlines()), type(error).__name__)
            why = _shadowed(point) or _shared(point) or said
            raise RequestError(f"{singular} {name!r} ({origin}) cannot be loaded: {why}") from error
        if why := _shadowed(point):
            raise RequestError(f"{singular} {name!r} ({origin}) cannot be loaded: {why}")
        if not (isinstance(cls, type) and issubclass(cls, self.base)):
            raise RequestError(
                f"{singular} {name!r} ({origin}) must extend "
                f"{self.base.__module__}.{self.base.__name__}"
            )
        if not isinstance(getattr(cls, "card", None), Card):
            raise RequestError(f"{singular} {name!r} ({origin}) has no card")
        if getattr(cls, "name", None) != name:
            raise RequestError(
                f"{singular} {name!r} ({origin}) calls itself {getattr(cls, 'name', None)!r}"
            )
        return cls

    def _point(self, name: str) -> EntryPoint:
        points = self._points.get(name)
        if not points:
            raise RequestError(f"unknown {self.kind[:-1]} {name!r}{suggestion(name, self.names())}")
        if len(points) > 1:
            raise RequestError(self._twice(name))
        return points[0]

    def _twice(self, name: str) -> str:
        both = " and ".join(str(_origin(point)) for point in self._points[name])
        return f"{self.kind[:-1]} {name!r} is registered twice: {both}; uninstall one of them"


def is_built_in(point: EntryPoint) -> bool:
    """Return whether an entry point belongs to this project's distribution."""
    return point.dist is not None and point.dist.name == OURS


def _package(point: EntryPoint) -> tuple[str, str]:
    return ("", "") if point.dist is None else (point.dist.name, point.dist.version)


def _other_versions(point: EntryPoint) -> list[str]:
    """Return hidden versions of an entry point's distribution, further back on the import path."""
    if point.dist is None:
        return []
    found = {other.version for other in distributions(name=point.dist.name)}
    return [
        f"{point.dist.name} {version}, which is hidden"
        for version in sorted(found - {point.dist.version})
    ]


def _package_of_ours(point: EntryPoint) -> str:
    """Return the top-level package of a plugin of this distribution; empty for other plugins."""
    return point.module.partition(".")[0] if is_built_in(point) else ""


def _shadowed(point: EntryPoint) -> str:
    """Return in words what is imported in place of the package of a built-in plugin, else ""."""
    package = _package_of_ours(point)
    return package_elsewhere(package) if package else ""


def _shared(point: EntryPoint) -> str:
    """Return which distribution installs files into the package of a built-in plugin, else ""."""
    package = _package_of_ours(point)
    others = other_owners(package) if package else []
    return (
        f"the distribution {others[0]} also installs a package {package!r}; uninstall one of them"
        if others
        else ""
    )


def listing(kind: str) -> Registry[Plugin]:
    """Return a registry that can list names only and therefore does not import torch."""
    return Registry(kind, Plugin)
