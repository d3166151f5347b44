"""What the Reference says of fields: the comment behind a field, as our dataclasses have it, is its docstring."""

import ast
from typing import Any

import griffe


class Fields(griffe.Extension):
    """Shows the fields of classes, those without a comment, too."""

    def on_attribute_instance(self, *, node: ast.AST, attr: griffe.Attribute, agent: griffe.Visitor, **_: Any) -> None:
        """Gives a field of a class its comment."""
        if isinstance(node, ast.AnnAssign) and attr.parent is not None and attr.parent.is_class and not attr.docstring:
            attr.docstring = griffe.Docstring(comment(agent.code, node), parent=attr)


def comment(code: str, node: ast.AnnAssign) -> str:
    """What follows a field on its last line; empty if nothing does."""
    assert node.end_lineno is not None
    line = code.splitlines()[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
    _, _, told = line.partition("#")
    return told.strip()
