"""`hpax train NAME` is the study of that name, flags and all."""

import os
import pathlib
import subprocess
import sys

import pytest

import experiments
from experiments import combine_labels
from hpax import processes
from hpax.commands import main, train


def test_every_study_is_there_and_listed(capsys):
    folder = pathlib.Path(experiments.__path__[0])
    assert all((folder / f"{study}.py").exists() for study in train.STUDIES.values())
    assert main.main(["train"]) == 0
    told = capsys.readouterr().out
    assert all(f"\n  {name} " in told for name in train.STUDIES)
    assert told.startswith("for example: hpax train combine --fields FOLDER")


def test_the_arguments_are_the_study_s(monkeypatch):
    tape = []
    monkeypatch.setattr(combine_labels, "main", lambda argv: tape.append(argv) or 3)
    assert main.main(["train", "combine", "--fields", "F", "--preset", "fast"]) == 3
    assert tape == [["--fields", "F", "--preset", "fast"]]


def test_an_unknown_study_is_answered_with_the_nearest(capsys):
    assert main.main(["train", "combin"]) == 2
    assert "did you mean combine?" in capsys.readouterr().err


def test_without_studies_it_says_where_they_are(monkeypatch, capsys):
    monkeypatch.setattr(train, "PACKAGE", "nobody_s_package")
    assert train.main(["combine"]) == 2
    assert "checkout of hpax" in capsys.readouterr().err


def test_help_names_the_command_that_was_asked(capsys):
    with pytest.raises(SystemExit) as end:
        main.main(["train", "combine", "--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith("for example: hpax train combine --fast")
    assert "usage: hpax train combine" in told
    assert "experiments.combine_labels" not in told.partition("options")[0]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [["train", "combine", "--help"], ["--help"], ["label", "--help"]])
def test_output_that_nobody_reads_is_a_quiet_end(command, unbuffered):
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(
        [sys.executable, "-m", "hpax", *command],
        stdout=write,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        text=True,
        check=False,
    )
    os.close(write)
    assert (run.returncode, run.stderr) == (processes.UNREAD, "")
