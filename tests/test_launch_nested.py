"""Configs within configs: one command line, differences by path, presets, and folders that one process owns."""

import dataclasses
import json
import pathlib
from typing import Annotated, Literal

import numpy as np
import pytest
import tyro

from hpax import files, launch, report


@dataclasses.dataclass(frozen=True)
class Data:
    """Whose fields stand beside those of the whole."""

    proteins: int = 380  # to draw
    folder: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Two levels down."""

    rate: float = 1e-3


@dataclasses.dataclass(frozen=True)
class Network:
    """A nested config."""

    pooling: Literal["average", "gem", "lse"] = "average"
    widths: tuple[int, ...] = (8, 16)
    optimizer: Optimizer = Optimizer()

    def __post_init__(self):
        if self.pooling == "gem" and len(self.widths) == 1:
            raise ValueError("gem needs two widths, got one; add another")


@dataclasses.dataclass(frozen=True)
class Config:
    """A network of fields, one of cells, and their data."""

    data: Annotated[Data, tyro.conf.arg(name="")] = Data()
    field: Network = Network()
    cell: Network = Network(pooling="lse")
    seed: int = 0


SWEEPS = {"pooling": launch.grid({"field.pooling": ["average", "gem"]}, proteins=[57])}
PRESETS = {"fast": {"proteins": 3, "field.optimizer.rate": 0.1}, "large": {"field.widths": (64, 128, 256)}}


@pytest.fixture
def tape():
    return []


@pytest.fixture
def experiment(tape, tmp_path):
    def call(*argv, sweeps=SWEEPS, presets=PRESETS):
        def run(config, workdir):
            tape.append(config)
            (workdir / "index.html").write_text("<p>")
            return launch.Result({"f1": 0.5}, {"cells": 7}, "simulated", ["f1"])

        argv = ["--workdir", str(tmp_path / "work"), *argv]
        return launch.main(Config, run, sweeps=sweeps, presets=presets, argv=argv)

    return call


def record(tmp_path, arm="default", name="result.json"):
    return json.loads((tmp_path / "work" / arm / "seed0" / name).read_text())


def test_flags_reach_every_level_and_the_record_holds_what_ran(experiment, tape, tmp_path, capsys):
    assert experiment("--field.pooling", "gem", "--cell.optimizer.rate", "0.5", "--proteins", "57") == 0
    wanted = Config(Data(57), Network("gem"), Network("lse", optimizer=Optimizer(0.5)))
    assert tape == [wanted]
    told = record(tmp_path)
    assert told["config"] == record(tmp_path, name="config.json") == launch.plain(wanted)
    assert told["settings"] == {"proteins": 57, "field.pooling": "gem", "cell.optimizer.rate": 0.5}
    assert f"the page: {tmp_path}/work/default/seed0/index.html" in capsys.readouterr().out
    (row,) = report.collect([tmp_path])
    assert row["settings"] == "proteins=57, field.pooling=gem, cell.optimizer.rate=0.5"


def test_arms_are_differences_by_path(experiment, tape, tmp_path):
    assert experiment("--sweep", "pooling", "--cell.widths", "4") == 0
    base = Config(Data(57), cell=Network("lse", (4,)))
    assert tape == [base, dataclasses.replace(base, field=Network("gem"))]
    assert record(tmp_path, "field.pooling=gem,proteins=57")["settings"] == {"cell.widths": [4]}


def test_a_default_that_the_outer_config_sets_is_no_setting():
    assert launch.settings(Config()) == {}
    assert launch.settings(Config(cell=Network())) == {"cell.pooling": "average"}


def test_replacing_sets_fields_that_belong_together_at_once():
    whole = Config(field=Network("average", (8,)))
    changed = launch.replaced(whole, {"field.pooling": "gem", "field.widths": (4, 8), "data.proteins": 5, "seed": 2})
    assert changed == Config(Data(5), Network("gem", (4, 8)), seed=2)
    assert launch.replaced(whole, {"field": Network("lse")}).field == Network("lse")
    assert launch.replaced(whole, {}) == whole


@pytest.mark.parametrize(
    ("difference", "told"),
    [
        ({"field.poling": "gem"}, "'field.poling' does not; did you mean 'field.pooling'?"),
        ({"protein": 3}, "did you mean 'proteins'?"),
        ({"field.pooling.of": "gem"}, "must name a field of Config"),
        ({"nothing": 1}, "choose from ['cell.optimizer.rate'"),
        ({"field": Network(), "field.pooling": "gem"}, "sets both"),
        ({"field.pooling": "gem", "field.widths": (8,)}, "gem needs two widths, got one"),
    ],
)
def test_a_difference_that_fits_nothing_says_what_would(difference, told):
    with pytest.raises(launch.LaunchError) as error:
        launch.replaced(Config(), difference)
    assert told in str(error.value)


def test_an_arm_that_makes_no_config_ends_before_anything_runs(experiment, tape, capsys):
    assert experiment("--sweep", "x", sweeps={"x": [{"field.pooling": "gem", "field.widths": (8,)}]}) == 2
    assert "gem needs two widths" in capsys.readouterr().err
    assert experiment("--sweep", "x", sweeps={"x": [{"field.poling": "gem"}]}) == 2
    assert "did you mean 'field.pooling'" in capsys.readouterr().err
    assert tape == []


def test_a_preset_comes_before_the_other_flags(experiment, tape, tmp_path):
    assert experiment("--preset", "fast", "--proteins", "4") == 0
    assert tape == [Config(Data(4), Network(optimizer=Optimizer(0.1)))]
    assert record(tmp_path)["settings"] == {"proteins": 4, "field.optimizer.rate": 0.1}
    assert experiment("--fast", "--proteins", "4") == 0  # the same, so it is there
    assert experiment("--preset=large", "--workdir", str(tmp_path / "other")) == 0
    assert tape[1:] == [Config(field=Network(widths=(64, 128, 256)))]


def test_an_unknown_preset_is_refused(experiment, tape, capsys):
    with pytest.raises(SystemExit) as end:
        experiment("--preset", "lage")
    assert end.value.code == 2
    assert "large" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        experiment("--fast", presets={"large": {}})
    assert tape == []


def test_help_shows_presets_and_nested_flags(experiment, capsys):
    with pytest.raises(SystemExit) as end:
        experiment("--help")
    told = capsys.readouterr().out
    assert end.value.code == 0
    assert all(flag in told for flag in ("--preset {None,fast,large}", "--fast", "--field.pooling", "--proteins"))


def test_a_nested_difference_of_folders_is_named_by_its_path(experiment, capsys):
    assert experiment() == 0
    assert experiment("--cell.widths", "4") == 2
    assert "cell.widths is [8, 16] there, [4] now" in capsys.readouterr().err


def test_a_folder_in_use_is_left_alone(experiment, tape, tmp_path, capsys):
    folder = tmp_path / "work" / "default" / "seed0"
    folder.mkdir(parents=True)
    with files.exclusive(folder):
        assert experiment() == 2
        assert f"another process works in {folder}" in capsys.readouterr().err
        assert experiment("--seeds", "0", "1") == 1  # the other seed has its result
    assert [config.seed for config in tape] == [1]
    assert experiment("--seeds", "0", "1") == 0
    assert [config.seed for config in tape] == [1, 0]


def test_digests_cover_config_and_data(tmp_path):
    (tmp_path / "a").write_text("one")
    whole = Config()
    others = [launch.replaced(whole, {"cell.optimizer.rate": 0.5}), Config(seed=1)]
    known = [launch.digest(each) for each in (whole, *others)]
    known += [launch.digest(whole, "data"), launch.digest(whole, Data()), launch.digest(whole, tmp_path / "a")]
    known += [launch.digest(whole, np.arange(3))]
    (tmp_path / "a").write_text("two")
    known.append(launch.digest(whole, tmp_path / "a"))
    assert len(set(known)) == len(known)
    assert launch.digest(whole) == launch.digest(Config()) == known[0]
