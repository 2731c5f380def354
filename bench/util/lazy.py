"""Packages that re-export names of their modules and import a module when its name is used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_exports(
    package: str, exports: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package whose public names live in its modules.

    The package writes its table as ``EXPORTS = {"Name": "module.that.defines.it"}``, a literal, so
    that code identities (``bench.util.code_identity``) can follow a name to its definition.

    Args:
        package: ``__name__`` of the package.
        exports: the module that defines each public name.
    """

    def attribute(name: str) -> object:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(exports[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *exports})

    return attribute, names
