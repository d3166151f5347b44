"""What there is to run, from the docstrings of its modules, without importing any."""

import ast
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path


def claim(path: Path) -> str:
    """The first sentence or paragraph of a module's docstring, in one line."""
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(doc.partition("\n\n")[0].split())


def claims(folder: Path) -> dict[str, str]:
    """Module → claim, of every module in a folder whose name does not begin with an underscore."""
    return {path.stem: claim(path) for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}


def table(claims: Mapping[str, str]) -> str:
    """A line for each name."""
    width = max(map(len, claims), default=0)
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in claims.items())


def nearest(name: str, names: Iterable[str]) -> str:
    """What to say where a name is unknown."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(names)}"
