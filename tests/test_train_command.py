"""`hpax train NAME` is the study of that name, flags and all."""

import pathlib

import experiments
from experiments import combine_labels
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
