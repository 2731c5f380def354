"""Changes source text for the tests of code identity."""

from __future__ import annotations

import ast


class _Alter(ast.NodeTransformer):
    """Adds one to the first number that it meets outside documentation."""

    def __init__(self) -> None:
        self.done = False

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not self.done and type(node.value) in (int, float):
            self.done = True
            return ast.copy_location(ast.Constant(node.value + 1), node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "Card":
            return node
        return self.generic_visit(node)


def altered_constant(text: str, names: set[str]) -> str | None:
    """Return a module with one number changed within the definitions ``names``, or None."""
    tree = ast.parse(text)
    for node in tree.body:
        bound = {
            n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        name = getattr(node, "name", None)
        mine = name in names if name is not None else bool(bound & names)
        if mine and not isinstance(node, ast.Import | ast.ImportFrom):
            alter = _Alter()
            alter.visit(node)
            if alter.done:
                return ast.unparse(tree)
    return None
