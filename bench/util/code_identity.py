"""Identity of code: which definitions shape a result, and one hash over what they say.

A hash starts from a class or function and follows the names that its definition mentions, through
local packages, to every definition that they lead to. What does not change behaviour is left out:
comments, docstrings, layout, cards of documentation, the names of modules, imports under
``TYPE_CHECKING``, and definitions beside it that nothing mentions. So a file can move and a comment
can change without making stored results old, and a constant cannot.

Objects that a function only receives are not seen by name; where a result depends on such code, the
caller names it as one more root. Other packages than the local ones count by their versions
(``bench.util.provenance.versions``). A plugin of another package counts with all files of its
distribution besides (``bench.spec.guest_identity``).
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec, resolve_name
from pathlib import Path
from types import FunctionType

LOCAL = frozenset({"bench", "attacks", "defenses", "victims"})
"""Top-level packages of this project; their definitions are followed from wherever they are mentioned."""

INERT = frozenset({"bench.util.errors", "bench.util.progress"})
"""Modules that shape messages alone; they count for nothing."""

Root = type | Callable[..., object]


def is_ours(root: Root) -> bool:
    """Whether a class or function belongs to this project, and not to a package of others."""
    return root.__module__.partition(".")[0] in LOCAL


@dataclass(frozen=True)
class Symbol:
    """A name at the top level of a module; an empty name stands for the whole module."""

    module: str
    name: str


@dataclass(frozen=True)
class Statement:
    """One statement at the top level of a module.

    Attributes:
        digest: of the statement as a syntax tree without what does not change behaviour.
        names: names that it reads.
        members: names that it reads as attributes, by the name that they are an attribute of.
        imports: modules and names that it imports while it runs: local name, module, name in that
            module.
    """

    digest: str
    names: frozenset[str]
    members: frozenset[tuple[str, str]]
    imports: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Module:
    """The definitions of a module.

    Attributes:
        units: statements that bind names, by name.
        effects: statements that bind none, which run whenever anything of the module is used.
        imports: what names bound by an import stand for: module, and name in it ("" is the module
            itself).
    """

    name: str
    units: dict[str, list[Statement]] = field(default_factory=dict)
    effects: list[Statement] = field(default_factory=list)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)


class Sources:
    """Reads modules as definitions; each is parsed once.

    Args:
        read: gives the text of a module, or None where there is no such module with a source file.
    """

    def __init__(self, read: Callable[[str], str | None] | None = None) -> None:
        self._read = read or _read
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """The definitions of a module, or None where it has no source file."""
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
    """Return 12 hex digits of a sha256 over everything that the definitions of ``roots`` lead to.

    Args:
        local: more top-level packages whose definitions are followed.
    """
    closure = Closure(roots, sources or _shared(), local)
    return hashlib.sha256("\n".join(closure.digests()).encode()).hexdigest()[:12]


@lru_cache(maxsize=1)
def _shared() -> Sources:
    return Sources()


class Closure:
    """All definitions that some classes or functions lead to.

    Attributes:
        reached: the symbols, those of other packages left out.
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
                self._digests.add(_digest(f"root {start.name}"))
                waiting.append(start)
            else:
                self._digests.add(_digest(start))
        while waiting:
            symbol = waiting.pop()
            if symbol not in self.reached:
                self.reached.add(symbol)
                waiting += self._follow(symbol)

    def digests(self) -> list[str]:
        """One digest for each statement reached, sorted."""
        return sorted(self._digests)

    def modules(self) -> set[str]:
        """Modules of which at least one definition was reached."""
        return {symbol.module for symbol in self.reached}

    def _follow(self, symbol: Symbol) -> list[Symbol]:
        """Add what defines a symbol; return what that mentions."""
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
            found.append(
                Symbol(parent, "__effects__")
            )  # a package's own statements run before its modules'
        return found

    def _enter(self, module: Module, unit: Statement) -> list[Symbol]:
        """Add one statement, with the text that each of its names stands for; return what it leads to."""
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
        self._digests.add(_digest("\n".join([unit.digest, *sorted(set(edges))])))
        return found

    def _resolve(self, module: Module, unit: Statement, name: str) -> list[Symbol]:
        """The symbols that a name in a statement of ``module`` stands for."""
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
        """The symbols behind ``from source import name``, or ``import source`` where ``name`` is
        empty.

        Args:
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
    """The full name of what is not followed; of an inert module the name in it alone, so that the file can move."""
    return name if source in INERT else ".".join(filter(None, (source, name)))


def _start(root: Root) -> Symbol | str:
    """Where to begin: a symbol, or the text of a file that cannot be imported by name (a script, a notebook)."""
    target = inspect.unwrap(root) if isinstance(root, FunctionType) else root
    module, name = target.__module__, target.__qualname__.partition(".")[0]
    if _file(module) is None:
        try:
            return f"{name}\n{_plain(ast.parse(Path(inspect.getfile(target)).read_text(encoding='utf-8')))}"
        except (OSError, TypeError, SyntaxError):
            return name
    return Symbol(module, name)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _file(module: str) -> Path | None:
    """Where a module's source is; None where there is no such module."""
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


@lru_cache(maxsize=4096)
def parse(name: str, text: str, is_package: bool) -> Module:
    """Sort the statements of a module into definitions, imports and the rest."""
    package = name if is_package else name.rpartition(".")[0]
    module = Module(name)
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            module.imports.update(
                {local: (source, what) for local, source, what in _imports(node, package)}
            )
        elif _is_documentation(node) or _is_type_checking(node):
            continue
        elif (exported := _exports(node)) is not None:
            module.imports.update({name: (source, name) for name, source in exported.items()})
        else:
            unit = _unit(node, package)
            bound = _bound(node)
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                for local, source, what in unit.imports:  # imported inside ``try`` or ``if``
                    module.imports[local] = (source, what)
            for target in bound:
                module.units.setdefault(target, []).append(unit)
            if not bound:
                module.effects.append(unit)
    return module


def _exports(node: ast.stmt) -> dict[str, str] | None:
    """The table of a lazy package (``bench.util.lazy``), or None for any other statement."""
    if not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXPORTS"):
        return None
    table = ast.literal_eval(node.value)
    return {str(name): str(module) for name, module in table.items()}


def _unit(statement: ast.stmt, package: str) -> Statement:
    node = _DropDocumentation().visit(statement)
    inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
    imports = tuple(found for statement in inner for found in _imports(statement, package))
    names = frozenset(
        n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)
    )
    members = frozenset(
        (n.value.id, n.attr)
        for n in ast.walk(node)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)
    )
    return Statement(_digest(_plain(node)), names, members, imports)


def _plain(node: ast.AST) -> str:
    """A syntax tree as text, import statements by what they bind alone: where from is said by what they lead to."""
    copy = _KeepBoundNames().visit(_DropDocumentation().visit(node))
    return ast.dump(copy, annotate_fields=False)


class _DropDocumentation(ast.NodeTransformer):
    """Drops docstrings and other bare texts, cards of documentation, and blocks for type checkers."""

    def visit(self, node: ast.AST) -> ast.AST:
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                left = [n for n in value if not (_is_documentation(n) or _is_type_checking(n))]
                setattr(node, name, left or [ast.Pass()])
        self.generic_visit(node)
        return node


class _KeepBoundNames(ast.NodeTransformer):
    """Reduces import statements to the names that they bind."""

    def visit_Import(self, node: ast.Import) -> ast.AST:
        return ast.Import([ast.alias(a.asname or a.name.partition(".")[0]) for a in node.names])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.Import([ast.alias(a.asname or a.name) for a in node.names])


def _is_documentation(node: ast.stmt) -> bool:
    """A bare text (a docstring), or the card of a plugin."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    target: ast.expr | None = node.target if isinstance(node, ast.AnnAssign) else None
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    value = getattr(node, "value", None)
    return (
        isinstance(target, ast.Name)
        and target.id == "card"
        and isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id == "Card"
    )


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _imports(node: ast.Import | ast.ImportFrom, package: str) -> list[tuple[str, str, str]]:
    """Local name, module, and name in that module, of each name that an import statement binds."""
    if isinstance(node, ast.Import):
        return [(a.asname or a.name.partition(".")[0], a.name, "") for a in node.names]
    base = (
        resolve_name("." * node.level + (node.module or ""), package)
        if node.level
        else node.module or ""
    )
    return [(a.asname or a.name, base, a.name) for a in node.names]


def _bound(node: ast.stmt) -> list[str]:
    """Names that a top-level statement binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    return sorted(
        {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    )
