"""The layers of the packages, and a picture of them drawn from the source."""

import ast
import collections
import html
import pathlib

ROW, BOX = 46, 34


def text(path: pathlib.Path) -> str:
    """The order of layers as the test that holds it writes it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "LAYERS":
            return str(ast.literal_eval(node.value))
    raise ValueError(f"{path} must assign LAYERS, the order of the packages")


def rows(layers: str) -> list[list[str]]:
    """Layer after layer, the names of its packages."""
    return [[name.strip() for name in layer.split(",")] for layer in layers.split("<")]


def importers(package: pathlib.Path) -> dict[str, set[str]]:
    """Package → the other packages that import it."""
    found: dict[str, set[str]] = collections.defaultdict(set)
    for path in sorted(package.rglob("*.py")):
        own = path.relative_to(package).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in _imported(node):
                if name != own:
                    found[name].add(own)
    return found


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module == "hpax":
        names = [f"hpax.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [node.module]
    else:
        names = []
    return [name.split(".")[1] for name in names if name.startswith("hpax.")]


def drawn(layers: list[list[str]], imported_by: dict[str, set[str]]) -> str:
    """An SVG with a row for each layer, the most basic one at the bottom."""
    width, height = 760, ROW * len(layers) + 10
    shapes = []
    for number, names in enumerate(reversed(layers)):
        step = width / len(names)
        for place, name in enumerate(names):
            x, y = place * step + 4, number * ROW + 6
            count = len(imported_by.get(name, ()))
            told = f"{html.escape(name)} · {count}" if count else html.escape(name)
            shapes.append(
                f'<rect x="{x:.0f}" y="{y}" width="{step - 8:.0f}" height="{BOX}" rx="6" fill="none" '
                f'stroke="currentColor" stroke-opacity=".5"/><text x="{x + step / 2 - 4:.0f}" y="{y + 22}" '
                f'text-anchor="middle" font-size="13" fill="currentColor">{told}</text>'
            )
    return (
        f'<div><svg viewBox="0 0 {width} {height}" role="img" aria-label="Layers of packages" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(shapes)}</svg></div>'
    )
