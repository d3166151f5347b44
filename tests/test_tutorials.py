"""Every tutorial runs as it stands there, block after block, for fewer and smaller steps."""

import glob
import pathlib
import re
import runpy
import shlex

import pytest

import hpax
from experiments import __main__ as experiments
from hpax.commands import main

DOCS = pathlib.Path(hpax.__file__).parents[1] / "docs"
PAGES = ["index.md", *sorted(str(path.relative_to(DOCS)) for path in (DOCS / "tutorials").glob("*.md"))]
BLOCK = re.compile(r"```(bash|python)\n(.*?)```", re.DOTALL)
SHORT = runpy.run_path(str(DOCS / "shortened.py"))


def blocks(page):
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def command(line, names):
    """Runs a line of a shell; {name} is a name of the page's Python."""
    line = SHORT["command"](line.format(**names))
    program, *arguments = (each for part in shlex.split(line) for each in (sorted(glob.glob(part)) or [part]))
    assert program == "hpax", f"a tutorial's commands are those of hpax, got {line}"
    assert main.main(arguments) == 0, line


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    if page == "index.md":
        main.main(["simulate", "--fields", "FIELDS", "--count", "2", "--size", "256"])
    found = blocks(page)
    assert found
    for language, code in found:
        if language == "bash":
            for line in code.strip().splitlines():
                command(line, names)
        else:
            exec(compile(SHORT["python"](code), page, "exec"), names)
    assert capsys.readouterr().out


def test_tutorials_name_commands_and_options_that_exist(capsys):
    for page in PAGES:
        for language, code in blocks(page):
            for line in code.strip().splitlines() if language == "bash" else []:
                program, name, *_ = line.split()
                assert program == "hpax"
                assert name in main.COMMANDS
    for page in DOCS.rglob("*.md"):
        for study in re.findall(r"python -m experiments\.(\w+)", page.read_text(encoding="utf-8")):
            assert (pathlib.Path(experiments.__file__).parent / f"{study}.py").is_file(), f"{page.name}: {study}"


def test_the_reference_shows_fields_with_the_comments_behind_them(tmp_path):
    griffe = pytest.importorskip("griffe")
    (tmp_path / "drawn.py").write_text(
        'class Run:\n    """What."""\n\n    steps: int = 0  # µ, of "#" all\n    seed: str = "#"\n', encoding="utf-8"
    )
    extensions = griffe.load_extensions(str(DOCS / "fields.py"))
    run = griffe.load("drawn", search_paths=[tmp_path], extensions=extensions)["Run"]
    assert run["steps"].docstring.value == 'µ, of "#" all'
    assert run["seed"].docstring.value == ""
    assert run["seed"].has_docstring
    assert "extensions: [docs/fields.py]" in (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")


def test_every_page_of_a_newcomer_says_how_hpax_gets_on_the_path():
    for page in PAGES:
        assert "source .venv/bin/activate" in (DOCS / page).read_text(encoding="utf-8"), page
