"""The tutorials as notebooks in docs/notebooks, run, with their outputs; `--check`: that they have the tutorials' code.

A tutorial's blocks of shell become cells whose lines begin with `!`. What runs is shorter than what they say, as in the
tests, so that outputs take minutes; each notebook says so on top.
"""

import argparse
import contextlib
import glob
import io
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

import nbformat
import shortened

DOCS = pathlib.Path(__file__).resolve().parent
TUTORIALS, NOTEBOOKS = DOCS / "tutorials", DOCS / "notebooks"
BLOCK = re.compile(r"```(bash|python|text)\n(.*?)```", re.DOTALL)
NOTE = "*The outputs are those of a shortened run: smaller fields, fewer steps, fewer views.*"
MOST = 4000  # characters of an output that are kept


def notebook(page: str) -> nbformat.NotebookNode:
    """A tutorial's text and code as cells, without outputs."""
    cells, end = [nbformat.v4.new_markdown_cell(NOTE)], 0
    for found in BLOCK.finditer(page):
        cells.append(nbformat.v4.new_markdown_cell(page[end : found.start()].strip()))
        language, code = found.groups()
        if language == "text":
            cells.append(nbformat.v4.new_markdown_cell(found.group()))
        else:
            lines = code.strip().splitlines()
            source = "\n".join(f"!{line}" for line in lines) if language == "bash" else code.strip()
            cells.append(nbformat.v4.new_code_cell(source))
        end = found.end()
    cells.append(nbformat.v4.new_markdown_cell(page[end:].strip()))
    kept = [cell for cell in cells if cell.source]
    for number, cell in enumerate(kept):
        cell["id"] = f"cell{number}"
    return nbformat.v4.new_notebook(cells=kept)


def run(book: nbformat.NotebookNode, folder: pathlib.Path) -> None:
    """Fills in the outputs by running all cells, one after the other, in `folder`."""
    names: dict[str, object] = {}
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    with contextlib.chdir(folder):
        for number, cell in enumerate(code, 1):
            text = printed(cell.source, names)
            cell.execution_count = number
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text[-MOST:])] if text else []


def printed(source: str, names: dict[str, object]) -> str:
    """What a cell prints: lines that begin with `!` by a shell, which is given {names}; else Python."""
    if not source.startswith("!"):
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            exec(compile(shortened.python(source), "cell", "exec"), names)
        return told.getvalue()
    lines = [expanded(shortened.command(line.removeprefix("!").format(**names))) for line in source.splitlines()]
    runs = [
        subprocess.run([sys.executable, "-m", *line], stdout=subprocess.PIPE, check=True, text=True) for line in lines
    ]
    return "".join(run.stdout for run in runs)


def expanded(line: str) -> list[str]:
    """The words of a line, names with * in them as the files that there are."""
    return [each for part in shlex.split(line) for each in (sorted(glob.glob(part)) or [part])]


def sources(book: nbformat.NotebookNode) -> list[str]:
    """What the cells say, outputs left out."""
    return [str(cell.source) for cell in book.cells]


def main() -> int:
    """Writes or checks every notebook."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("names", nargs="*", help="tutorials, such as label; none: all")
    options = parser.parse_args()
    stale = []
    for path in sorted(TUTORIALS.glob("*.md")):
        if options.names and path.stem not in options.names:
            continue
        book, target = notebook(path.read_text(encoding="utf-8")), NOTEBOOKS / f"{path.stem}.ipynb"
        if options.check:
            if not target.exists() or sources(nbformat.read(target, as_version=4)) != sources(book):
                stale.append(target.name)
            continue
        with tempfile.TemporaryDirectory() as folder:
            run(book, pathlib.Path(folder))
        NOTEBOOKS.mkdir(exist_ok=True)
        nbformat.write(book, target)
        print(target)
    if stale:
        print(f"not what the tutorials say: {', '.join(stale)}; run `make notebooks`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
