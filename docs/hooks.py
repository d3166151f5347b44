"""What the pages take from the source when they are made: the layers, the commands, the cards of networks."""

import ast
import importlib.util
import pathlib

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).resolve().parent.parent
CARDS = sorted((ROOT / "hpax" / "models" / "weights").glob("*.md"))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """A page for each network that ships."""
    for card in CARDS:
        files.append(File.generated(config, f"networks/{card.name}", content=card.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fills in what a page leaves to the source."""
    if "{{ layers }}" in markdown:
        markdown = markdown.replace("{{ layers }}", picture_of_layers())
    if "{{ commands }}" in markdown:
        markdown = markdown.replace("{{ commands }}", commands())
    if "{{ networks }}" in markdown:
        markdown = markdown.replace("{{ networks }}", networks())
    return markdown


def picture_of_layers() -> str:
    """The SVG of docs/layers.py."""
    spec = importlib.util.spec_from_file_location("layers", ROOT / "docs" / "layers.py")
    assert spec is not None
    assert spec.loader is not None
    layers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(layers)
    rows = layers.rows(layers.text(ROOT / "tests" / "test_layers.py"))
    return str(layers.drawn(rows, layers.importers(ROOT / "hpax")))


def commands() -> str:
    """Every command's docstring, its example as code."""
    told = []
    tree = ast.parse((ROOT / "hpax" / "commands" / "main.py").read_text(encoding="utf-8"))
    (names,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "COMMANDS"
    )
    for name in names:
        source = (ROOT / "hpax" / "commands" / f"{name}.py").read_text(encoding="utf-8")
        told.append(f"## hpax {name}\n\n{ast.get_docstring(ast.parse(source))}\n")
    return "\n".join(told)


def networks() -> str:
    """Name, what for, size."""
    rows = ["| network | what for | MB |", "|---|---|---:|"]
    for card in CARDS:
        use = card.read_text(encoding="utf-8").split("\n\n")[1].replace("\n", " ")
        size = card.with_suffix(".safetensors").stat().st_size / 1e6
        rows.append(f"| [{card.stem}]({card.name}) | {use} | {size:.1f} |")
    return "\n".join(rows)
