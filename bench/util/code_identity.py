"""Identity of code: one hash over all definitions that shape a result.

A hash starts from a class or function and follows the names in its definition, through local
packages, to every definition that they lead to. What does not change behaviour is left out:
comments, docstrings, layout, cards of documentation, the names of modules, imports under
``TYPE_CHECKING``, and definitions that no name leads to. A file can therefore move and a comment
can change without making stored results old, and a constant cannot.

Objects that a function receives as arguments are not followed; where a result depends on such code,
the caller names it as a further root. Packages besides the local ones count by their versions
(``bench.util.provenance.versions``). A plugin of another package also counts with all files of its
distribution (``bench.settings.guest_identity``).
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType

from bench.util.code_statements import Module, Statement, digest_of, parse, plain_text

LOCAL = frozenset({"bench", "attacks", "defenses", "victims"})
"""Top-level packages of this project, whose definitions are followed."""

INERT = frozenset({"bench.util.errors", "bench.util.progress"})
"""Modules that shape messages alone; they enter no hash."""

Root = type | Callable[..., object]


def is_ours(root: Root) -> bool:
    """Return whether a class or function belongs to this project."""
    return root.__module__.partition(".")[0] in LOCAL


@dataclass(frozen=True)
class Symbol:
    """A name at the top level of a module; an empty name stands for the whole module."""

    module: str
    name: str


class Sources:
    """Reads modules as definitions; each is parsed once.

    Args:
        read: returns the text of a module, or None where there is no such module with a source
            file.
    """

    def __init__(self, read: Callable[[str], str | None] | None = None) -> None:
        self._read = read or _read
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """Return the definitions of a module, or None where it has no source file."""
        if name not in self._modules:
            text = self._read(name)
            self._modules[name] = (
                None if text is None else parse(name, text, self._is_package(name))
            )
        return self._modules[name]

    def _is_package(self, name: str) -> bool:
        file = _file(name)
        return file is not None and file.name == "__init__.py"


def code_hash(*roots: Root, sources: Sources | None = None, local: Iterable[str] = ()) -> str:
    """Return 12 hex digits of a sha256 over every definition that ``roots`` lead to.

    Args:
        roots: classes and functions.
        sources: reads modules; by default from the files that Python would import.
        local: further top-level packages whose definitions are followed.
    """
    closure = Closure(roots, sources or _shared(), local)
    return hashlib.sha256("\n".join(closure.digests()).encode()).hexdigest()[:12]


@lru_cache(maxsize=1)
def _shared() -> Sources:
    return Sources()


class Closure:
    """All definitions to which some classes or functions lead.

    Attributes:
        reached: the symbols, without those of other packages.
    """

    def __init__(self, roots: Iterable[Root], sources: Sources, local: Iterable[str] = ()) -> None:
        self._sources = sources
        self._digests: set[str] = set()
        self.reached: set[Symbol] = set()
        self._local = {*LOCAL, *local}
        starts = [_start(root) for root in roots]
        self._local |= {
            start.module.partition(".")[0] for start in starts if isinstance(start, Symbol)
        }
        waiting: list[Symbol] = []
        for start in starts:
            if isinstance(start, Symbol):
                self._digests.add(digest_of(f"root {start.name}"))
                waiting.append(start)
            else:
                self._digests.add(digest_of(start))
        while waiting:
            symbol = waiting.pop()
            if symbol not in self.reached:
                self.reached.add(symbol)
                waiting += self._follow(symbol)

    def digests(self) -> list[str]:
        """Return one digest for each statement reached, sorted."""
        return sorted(self._digests)

    def modules(self) -> set[str]:
        """Return the modules of which at least one definition was reached."""
        return {symbol.module for symbol in self.reached}

    def _follow(self, symbol: Symbol) -> list[Symbol]:
        """Add the statements that define a symbol; return the symbols in them."""
        module = self._sources.module(symbol.module)
        if module is None:
            return []
        units = list(module.effects)
        if symbol.name:
            units += module.units.get(symbol.name, [])
        else:
            units += [unit for defined in module.units.values() for unit in defined]
        found = [target for unit in units for target in self._enter(module, unit)]
        parent = symbol.module.rpartition(".")[0]
        if parent and self._is_local(parent) and self._sources.module(parent) is not None:
            # The statements of a package run before those of its modules.
            found.append(Symbol(parent, "__effects__"))
        return found

    def _enter(self, module: Module, unit: Statement) -> list[Symbol]:
        """Add one statement with the digest of each name in it; return the symbols in it."""
        edges: list[str] = []
        found: list[Symbol] = []
        for name in sorted(unit.names):
            for target in self._resolve(module, unit, name):
                edges.append(f"{name} is {target.name} {self._text_digest(target)}")
                found.append(target)
            if name in module.imports and not self._is_local(module.imports[name][0]):
                edges.append(f"{name} is {_outside(*module.imports[name])}")
        for local, source, name in unit.imports:
            if not self._is_local(source):
                edges.append(f"{local} is {_outside(source, name)}")
                continue
            members = [m for owner, m in unit.members if owner == local]
            for target in self._imported(source, name, members):
                edges.append(f"{local} is {target.name} {self._text_digest(target)}")
                found.append(target)
        self._digests.add(digest_of("\n".join([unit.digest, *sorted(set(edges))])))
        return found

    def _resolve(self, module: Module, unit: Statement, name: str) -> list[Symbol]:
        """Return the symbols for which a name in a statement of ``module`` stands."""
        if name in module.units:
            return [Symbol(module.name, name)]
        if name in module.imports:
            source, imported = module.imports[name]
            if self._is_local(source):
                return self._imported(
                    source, imported, [m for owner, m in unit.members if owner == name]
                )
        return []

    def _imported(self, source: str, name: str, members: list[str]) -> list[Symbol]:
        """Return the symbols behind ``from source import name``.

        Args:
            source: the module.
            name: the name; empty for ``import source``.
            members: attributes that are read of it, in case it is a module.
        """
        if name == "*":
            return [Symbol(source, "")]
        submodule = f"{source}.{name}" if name else source
        owner = self._sources.module(source)
        if name and owner is not None and (name in owner.units or name in owner.imports):
            if name in owner.imports:  # handed on from elsewhere
                again, original = owner.imports[name]
                return self._imported(again, original, members) if self._is_local(again) else []
            return [Symbol(source, name)]
        inner = self._sources.module(submodule)
        if inner is None:
            return []
        known = [m for m in members if m in inner.units or m in inner.imports]
        if not known:
            return [Symbol(submodule, "")]
        return [
            symbol
            for member in sorted(set(known))
            for symbol in self._imported(submodule, member, [])
        ]

    def _text_digest(self, symbol: Symbol) -> str:
        module = self._sources.module(symbol.module)
        if module is None or not symbol.name:
            return ""
        return " ".join(unit.digest for unit in module.units.get(symbol.name, []))

    def _is_local(self, module: str) -> bool:
        return module.partition(".")[0] in self._local and module not in INERT


def _outside(source: str, name: str) -> str:
    """Return the full name of what is not followed.

    For an inert module this is the name within the module, so that its file can move.
    """
    return name if source in INERT else ".".join(filter(None, (source, name)))


def _start(root: Root) -> Symbol | str:
    """Return the first symbol of a root, or text.

    Text stands for code in a file that cannot be imported by name, such as a script or a notebook.
    """
    target = inspect.unwrap(root) if isinstance(root, FunctionType) else root
    module, name = target.__module__, target.__qualname__.partition(".")[0]
    if _file(module) is None:
        try:
            text = Path(inspect.getfile(target)).read_text(encoding="utf-8")
            return f"{name}\n{plain_text(ast.parse(text))}"
        except (OSError, TypeError, SyntaxError):
            return name
    return Symbol(module, name)


def _file(module: str) -> Path | None:
    """Return the source file of a module, or None where there is none."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _read(module: str) -> str | None:
    file = _file(module)
    return None if file is None else file.read_text(encoding="utf-8")
