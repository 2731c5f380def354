"""A line ``EXPORTS of bench.interfaces`` in a page becomes the reference of all that it exports.

The table ``EXPORTS`` of a package says which module defines each public name, so the page cannot
miss a name, nor show one that is gone.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"^EXPORTS of ([\w.]+)$", re.MULTILINE)


def exports(package: str) -> dict[str, str]:
    """Return the table ``EXPORTS`` of a package without importing it; empty where it has none."""
    source = (ROOT / package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        match node:
            case (
                ast.Assign(targets=[ast.Name("EXPORTS")])
                | ast.AnnAssign(target=ast.Name("EXPORTS"))
            ):
                return dict(ast.literal_eval(node.value))
    return {}


def documented(module: str) -> set[str]:
    """Return the names of a module that the reference can show: each defined by itself."""
    file = ROOT / module.replace(".", "/")
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
                names.add(name)
    return names


def section(module: str, names: list[str]) -> str:
    """Return the part of a reference page for one module.

    Names that one statement defines together, as ``A, B = "a", "b"`` does, are listed.
    """
    alone = documented(module)
    together = ", ".join(f"`{name}`" for name in names if name not in alone)
    entries = [f"::: {module}.{name}" for name in names if name in alone]
    return "\n\n".join(
        [f"## {module}", *([f"Constants: {together}."] if together else []), *entries]
    )


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Replace the line by one heading for each defining module, with its public names."""

    def entries(match: re.Match[str]) -> str:
        by_module: dict[str, list[str]] = {}
        for name, module in exports(match[1]).items():
            by_module.setdefault(module, []).append(name)
        if not by_module:
            return f"::: {match[1]}"
        return "\n\n".join(section(*item) for item in sorted(by_module.items()))

    return LINE.sub(entries, markdown)
