"""Reads the source of a module as statements, without what does not change behaviour.

Comments, docstrings, layout, cards of documentation and blocks under ``TYPE_CHECKING`` are left
out, so that a digest of a statement changes only with what it does.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import resolve_name


@dataclass(frozen=True)
class Statement:
    """One statement at the top level of a module.

    Attributes:
        digest: digest of its syntax tree without what does not change behaviour.
        names: names that it reads.
        members: names that it reads as attributes, each with the name that it is an attribute of.
        imports: what it imports while it runs: local name, module, name in that module.
    """

    digest: str
    names: frozenset[str]
    members: frozenset[tuple[str, str]]
    imports: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Module:
    """The definitions of a module.

    Attributes:
        name: full name of the module.
        units: statements that bind names, by name.
        effects: statements that bind no name, which run whenever anything of the module is used.
        imports: what each imported name stands for: module, and name in it ("" is the module
            itself).
    """

    name: str
    units: dict[str, list[Statement]] = field(default_factory=dict)
    effects: list[Statement] = field(default_factory=list)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)


@lru_cache(maxsize=4096)
def parse(name: str, text: str, is_package: bool) -> Module:
    """Sort the statements of a module into definitions, imports and other statements."""
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
    """Return the table of a lazy package (``bench.util.lazy``), or None for any other statement."""
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
    return Statement(digest_of(plain_text(node)), names, members, imports)


def plain_text(node: ast.AST) -> str:
    """Return a syntax tree as text in which imports show only the names that they bind.

    What an import refers to counts through the definitions that it leads to.
    """
    copy = _KeepBoundNames().visit(_DropDocumentation().visit(node))
    return ast.dump(copy, annotate_fields=False)


class _DropDocumentation(ast.NodeTransformer):
    """Drops docstrings and other bare texts, cards, and blocks for type checkers."""

    def visit(self, node: ast.AST) -> ast.AST:
        """Drop documentation from every body of statements below ``node``."""
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                left = [n for n in value if not (_is_documentation(n) or _is_type_checking(n))]
                setattr(node, name, left or [ast.Pass()])
        self.generic_visit(node)
        return node


class _KeepBoundNames(ast.NodeTransformer):
    """Reduces import statements to the names that they bind."""

    def visit_Import(self, node: ast.Import) -> ast.AST:
        """Keep the names that ``import`` binds."""
        return ast.Import([ast.alias(a.asname or a.name.partition(".")[0]) for a in node.names])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """Keep the names that ``from … import`` binds."""
        return ast.Import([ast.alias(a.asname or a.name) for a in node.names])


def _is_documentation(node: ast.stmt) -> bool:
    """Return whether a statement is a bare text (a docstring) or the card of a plugin."""
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
    """Return local name, module, and name in that module, of each name that an import binds."""
    if isinstance(node, ast.Import):
        return [(a.asname or a.name.partition(".")[0], a.name, "") for a in node.names]
    base = (
        resolve_name("." * node.level + (node.module or ""), package)
        if node.level
        else node.module or ""
    )
    return [(a.asname or a.name, base, a.name) for a in node.names]


def _bound(node: ast.stmt) -> list[str]:
    """Return the names that a top-level statement binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    return sorted(
        {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    )


def digest_of(text: str) -> str:
    """Return the sha256 of a text, 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()
