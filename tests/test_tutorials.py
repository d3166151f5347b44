"""Every tutorial runs as it stands there, block after block, for fewer and smaller steps."""

import pathlib
import re
import shlex

import pytest

import hpax
from experiments import __main__ as experiments
from hpax.commands import main

DOCS = pathlib.Path(hpax.__file__).parents[1] / "docs"
PAGES = ["index.md", *sorted(str(path.relative_to(DOCS)) for path in (DOCS / "tutorials").glob("*.md"))]
BLOCK = re.compile(r"```(bash|python)\n(.*?)```", re.DOTALL)

SMALLER = {
    "hpax simulate": "--size 256",
    "hpax train combine": "--field.optimizer.steps 2 --cell.optimizer.steps 2 --um-per-pixel 0.32",
    "hpax train inpaint": "--recipe.optimizer.steps 2 --recipe.network.width 0.1 --um-per-pixel 0.32",
    "hpax segment": "--um-per-pixel 0.32",
    "hpax label": "--um-per-pixel 0.32 --tta 1",
    "hpax embed": "--um-per-pixel 0.32",
}
"""Command → options that make it short; fields of 256 pixels are not of a size that tells µm per pixel."""

SHORTER = {
    'pathlib.Path("FIELDS")': 'pathlib.Path("FIELDS"), um_per_pixel=0.32',
    'read_folder("FIELDS"': 'read_folder("FIELDS", um_per_pixel=0.32',
    "localize.Config()": "localize.Config(um_per_pixel=1.28, window=32, tta=1, optimizer=TWO_STEPS)",
    "classify.Config()": "classify.Config(resolution=32, tta=1, optimizer=TWO_STEPS)",
    "steps=200": "steps=60",
}


def blocks(page):
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def command(line, names):
    """Runs a line of a shell; {name} is a name of the page's Python."""
    line = line.format(**names)
    for start, more in SMALLER.items():
        if line.startswith(start):
            line = f"{line} {more}"
    program, *arguments = shlex.split(line)
    assert program == "hpax", f"a tutorial's commands are those of hpax, got {line}"
    assert main.main(arguments) == 0, line


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_runs(page, tmp_path, monkeypatch, capsys):
    from hpax.recipes.optimizers import Optimizer

    monkeypatch.chdir(tmp_path)
    names = {"TWO_STEPS": Optimizer(steps=2, batch_size=8)}
    if page == "index.md":
        main.main(["simulate", "--fields", "FIELDS", "--count", "2", "--size", "256"])
    found = blocks(page)
    assert found
    for language, code in found:
        if language == "bash":
            for line in code.strip().splitlines():
                command(line, names)
        else:
            for long, short in SHORTER.items():
                code = code.replace(long, short)
            exec(compile(code, page, "exec"), names)
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
