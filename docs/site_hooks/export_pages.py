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


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Replace the line by one heading for each defining module, with its public names."""

    def entries(match: re.Match[str]) -> str:
        by_module: dict[str, list[str]] = {}
        for name, module in exports(match[1]).items():
            by_module.setdefault(module, []).append(name)
        if not by_module:
            return f"::: {match[1]}"
        return "\n\n".join(
            f"## {module}\n\n" + "\n\n".join(f"::: {module}.{name}" for name in names)
            for module, names in sorted(by_module.items())
        )

    return LINE.sub(entries, markdown)
