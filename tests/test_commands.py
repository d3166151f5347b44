"""The command `hpax`: a list of what there is, quick help, one style of errors and exit codes."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from typing import get_args

import jax
import pytest

import experiments
import hpax
from experiments import __main__ as experiments_list
from hpax import progress
from hpax.commands import build, command, fetch, label, listing, main, score, segment
from hpax.data.building import DATA_SETS
from hpax.data.download import RateLimit
from hpax.data.hpa_cells import Config as Cells
from hpax.formats import masks, proteinatlas
from hpax.metrics import detection
from hpax.models import ensemble, segmenter

ROOT = pathlib.Path(hpax.__file__).parents[1]
HEAVY = {"jax", "flax", "tensorflow_datasets", "anndata", "matplotlib", "sklearn", "umap", "zarr", "grain", "pandas"}


@dataclasses.dataclass(frozen=True)
class Options:
    """How to fail."""

    how: str = ""


ERRORS = {
    "wrong": ValueError,
    "missing": FileNotFoundError,
    "pool": BrokenProcessPool,
    "stop": KeyboardInterrupt,
}
DOC = """Does a thing.

    hpax thing --how well

Leaves nothing.
"""


def thing(tape=None, **failures):
    def work(options, call):
        if tape is not None:
            tape.append(call)
        if options.how:
            raise ERRORS[options.how]("because")
        return failures

    return command.Command("thing", DOC, Options, work)


def test_exit_codes_and_errors(capsys):
    assert thing().main([]) == 0
    assert thing(b="torn", a="empty").main([]) == 1
    assert capsys.readouterr().err == "failed: a: empty\nfailed: b: torn\n"
    for how in ("wrong", "missing", "pool"):
        assert thing().main(["--how", how]) == 2
        assert capsys.readouterr().err == "error: because\n"
    assert thing().main(["--how", "stop"]) == 130
    assert "goes on from here" in capsys.readouterr().err


def test_help_is_framed_by_an_example_and_where_outputs_go(capsys):
    with pytest.raises(SystemExit) as end:
        thing().main(["--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith("for example: hpax thing --how well\n")
    assert told.rstrip().endswith("Leaves nothing.")
    assert "Does a thing." in told


def test_each_example_has_a_line_of_its_own(capsys):
    with pytest.raises(SystemExit):
        main.main(["label", "--help"])
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "for example: hpax label --fields FOLDER --workdir DIR"
    assert told[1].startswith("             hpax label --fields FOLDER --models localize.safetensors")


def test_a_command_knows_how_it_was_called():
    tape = []
    thing(tape).main(["--how", ""])
    thing(tape).main([], command=("python", "-m", "experiments.thing"))
    assert tape == [
        command.Call(("hpax", "thing"), "Does a thing.", ("--how", "")),
        command.Call(("python", "-m", "experiments.thing"), "Does a thing.", ()),
    ]


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_the_list_names_every_command(argv, capsys):
    assert main.main(argv) == 0
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in main.COMMANDS)
    assert "Segments every field of a folder" in told


def test_the_version(capsys):
    assert main.main(["--version"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"hpax {hpax.__version__}"
    assert f"jax {jax.__version__}" in told
    assert told[-1].startswith("devices: ")


def test_a_command_shows_the_config_that_it_would_work_by(tmp_path, capsys):
    assert main.main(["simulate", "--fields", str(tmp_path / "f"), "--show-config", "--count", "7"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"fields": str(tmp_path / "f"), "count": 7, "size": 512, "realism": "plain", "seed": 0}
    assert not (tmp_path / "f").exists()
    study = ["train", "combine", "--show-config", "--fast", "--workdir", str(tmp_path / "w"), "--seeds", "1", "2"]
    assert main.main(study) == 0
    arms = json.loads(capsys.readouterr().out)
    assert [arm["seed"] for arm in arms.values()] == [1, 2]
    assert all(arm["cross_validate"] == 2 for arm in arms.values())
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(("name", "told"), [("labl", "did you mean label?"), ("zzz", "choose from segment, label")])
def test_an_unknown_command_is_answered_with_the_nearest(name, told, capsys):
    assert main.main([name]) == 2
    assert told in capsys.readouterr().err


def test_an_unknown_data_set_is_answered_with_the_nearest(capsys):
    assert main.main(["build", "hpa_cell"]) == 2
    assert "did you mean hpa_cells?" in capsys.readouterr().err
    assert main.main(["build"]) == 0
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in DATA_SETS)


def test_help_imports_little():
    names = [path.stem for path in pathlib.Path(experiments.__path__[0]).glob("[!_]*.py")]
    lines = [
        "import contextlib, importlib, io, sys",
        "from hpax.commands import main, train",
        "from experiments import __main__",
        "def help(call, *arguments):",
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as told:",
        "        call([*arguments, '--help'])",
        "    assert 'usage' in told.getvalue(), arguments",
        "for name in main.COMMANDS: help(main.main, name)",
        "for name in train.STUDIES: help(main.main, 'train', name)",
        f"for name in {names!r}: help(importlib.import_module('experiments.' + name).main)",
        "help(__main__.main)",
        "main.main([])",
        f"print(sorted({HEAVY!r} & set(sys.modules)))",
    ]
    run = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_the_module_is_the_command():
    run = subprocess.run([sys.executable, "-m", "hpax", "lable"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "did you mean label?" in run.stderr


@pytest.mark.parametrize("name", [name for name in main.COMMANDS if name not in ("build", "train")])
def test_every_command_shows_its_example(name, capsys):
    with pytest.raises(SystemExit) as end:
        main.main([name, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"for example: hpax {name} ")


def test_options_have_the_defaults_of_what_does_the_work():
    cells = Cells()
    for name in ("crop_um", "crop_size", "centre", "neighbours"):
        assert getattr(segment.Config, name) == getattr(cells, name)
    (flavours, _) = get_args(segment.Config.__annotations__["masks"])
    assert get_args(flavours) == get_args(masks.Flavour)
    assert segment.Config.networks == segmenter.SHIPPED
    assert tuple(map(str, label.Config.models)) == ensemble.SHIPPED
    assert score.Config.iou == (detection.IOU,)
    for field in dataclasses.fields(RateLimit):
        assert getattr(fetch.Config, field.name) == field.default
    assert (fetch.Config.base, fetch.Config.fields) == (proteinatlas.BASE, proteinatlas.FIELDS)
    assert build.DATA_SETS == DATA_SETS


def test_experiments_are_listed_by_their_claims(capsys):
    assert experiments_list.main([]) == 0
    told = capsys.readouterr().out
    names = [path.stem for path in pathlib.Path(experiments.__path__[0]).glob("*.py") if not path.stem.startswith("_")]
    assert len(names) > 10
    assert all(f"\n  {name} " in told for name in names)
    assert "Paired cell inpainting (Lu et al. 2019)" in told
    assert experiments_list.main(["score"]) == 2
    assert "python -m experiments.score" in capsys.readouterr().err
    assert experiments_list.main(["quick"]) == 2
    assert "did you mean quickstart?" in capsys.readouterr().err


def test_a_claim_is_the_first_paragraph_in_one_line(tmp_path):
    (tmp_path / "a.py").write_text('"""Does this\nand that.\n\nMore."""\nraise SystemExit("imported")\n')
    (tmp_path / "b.py").write_text("x = 1\n")
    (tmp_path / "_c.py").write_text("x = 1\n")
    assert listing.claims(tmp_path) == {"a": "Does this and that.", "b": ""}


def test_progress_without_a_terminal_is_a_line_every_few_seconds(monkeypatch, capsys):
    clock = iter(float(second) for second in range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    bar = progress.Lines("fields", 30, every=10)
    for _ in range(30):
        bar.advance()
    bar.say("failed: x")
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "fields: 10 of 30, 1/s, 20 s left"
    assert len(told) == 4
    assert told[2].startswith("fields: 30 of 30")
    assert told[3] == "failed: x"


def test_short_work_is_done_without_a_line(capsys):
    assert list(progress.track("abc", "letters", 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_one_thing_that_takes_long_has_its_lines(capsys):
    bar = progress.Lines("fields", 3, every=0.0)
    with progress.beating(bar.beat, 0.01):
        time.sleep(0.2)
    told = capsys.readouterr().err.splitlines()
    assert len(told) > 1
    assert told[0].startswith("fields: 0 of 3, ")


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.shown("fields", 2) as bar:
        bar.advance()
        bar.say("failed: [x]")
    assert isinstance(bar, progress.Bar)
    assert "failed: [x]" in capsys.readouterr().err
