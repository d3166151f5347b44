"""Arms are differences, folders are resumable, and nothing half-written is ever left."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from hpax import files, launch


@dataclasses.dataclass(frozen=True)
class Config:
    """A config of every kind of field that experiments use."""

    width: float = 0.25  # share of the published width
    pair: str = "sibling"
    layers: tuple[int, ...] = (1, 2)
    root: pathlib.Path | None = None
    seed: int = 0


SWEEPS = {"pairing": launch.grid(pair=["sibling", "self"]), "empty": ()}


@pytest.fixture
def tape():
    return []


@pytest.fixture
def experiment(tape, tmp_path):
    """`experiment(*argv, fail=...)` → exit status; every call of run goes on the tape."""

    def call(*argv, fail=lambda config: None, sweeps=SWEEPS):
        def run(config, workdir):
            tape.append(config)
            fail(config)
            (workdir / "checkpoint").write_text("done")
            return launch.Result(
                {"accuracy": np.float32(config.width), "odd": np.nan}, {"cells": 7}, "simulated", ["odd"]
            )

        return launch.main(Config, run, sweeps=sweeps, argv=["--workdir", str(tmp_path / "work"), *argv])

    return call


def results(tmp_path):
    return {str(path.parent.relative_to(tmp_path / "work")): path for path in tmp_path.glob("work/*/*/result.json")}


def raising(error):
    def fail(config):
        if config.pair == "self" and config.seed == 0:
            raise error

    return fail


def test_grid_is_the_nested_loop_over_its_axes():
    looped = [{"width": width, "pair": pair} for width in (0.25, 0.5) for pair in ("sibling", "self")]
    assert list(launch.grid(width=[0.25, 0.5], pair=["sibling", "self"])) == looped
    assert launch.grid() == ({},)


@pytest.mark.parametrize("values", [[], "self"])
def test_an_axis_without_a_list_of_values_is_refused(values):
    with pytest.raises(ValueError, match="axis pair must be a list"):
        launch.grid(pair=values)


def test_an_arm_changes_its_difference_and_the_seed_and_nothing_else(experiment, tape):
    assert experiment("--width", "0.5", "--sweep", "pairing", "--seeds", "3", "4", "3") == 0
    base = Config(width=0.5)
    wanted = [dataclasses.replace(base, pair=pair, seed=seed) for pair in ("sibling", "self") for seed in (3, 4)]
    assert tape == wanted


def test_every_arm_and_seed_has_its_own_folder_and_a_strict_record(experiment, tmp_path, monkeypatch):
    monkeypatch.setenv(launch.REAL_DATA, "/somewhere/real")
    experiment("--sweep", "pairing", "--seeds", "0", "1", "--root", "/somewhere/real/yeast")
    found = results(tmp_path)
    assert sorted(found) == ["pair=self/seed0", "pair=self/seed1", "pair=sibling/seed0", "pair=sibling/seed1"]
    record = json.loads(
        found["pair=self/seed1"].read_text(), parse_constant=lambda name: pytest.fail(f"{name} in JSON")
    )
    config = json.loads(found["pair=self/seed1"].with_name("config.json").read_text())
    assert record["config"] == config
    assert config == {"width": 0.25, "pair": "self", "layers": [1, 2], "root": "/somewhere/real/yeast", "seed": 1}
    assert record["metrics"] == {"accuracy": 0.25, "odd": None}
    assert (record["arm"], record["seed"], record["sweep"], record["data"]) == ("pair=self", 1, "pairing", "simulated")
    assert record["experiment"] == "test_launch"
    assert record["settings"] == {"root": "$HPAX_REAL_DATA/yeast"}
    assert "/somewhere" not in record["command"]
    assert record["about"].startswith("Arms are differences")
    assert record["versions"]["numpy"] == np.__version__
    assert record["devices"]["count"] == 8  # the virtual ones of conftest
    assert record["wall_s"] >= 0
    assert not record["resumed"]


def test_arm_names_are_readable_sorted_and_stay_in_their_folder():
    assert launch.arm_name({"width": 0.25, "pair": "self"}) == "pair=self,width=0.25"
    assert launch.arm_name({}) == "default"
    assert launch.arm_name({"layers": (8, 16), "rate": 1e-4}) == "layers=8-16,rate=0.0001"
    assert "/" not in launch.arm_name({"root": pathlib.Path("../../etc")})


def test_digests_tell_configs_apart_whatever_their_order():
    config = {"a": pathlib.Path("x"), "b": (1, 2.5)}
    assert launch.digest(config) == launch.digest(dict(reversed(config.items())))
    others = [{**config, "b": (1, 2.25)}, {**config, "a": pathlib.Path("y")}, {"a": pathlib.Path("x")}]
    assert len({launch.digest(each) for each in (config, *others)}) == 4


def test_finished_arms_are_skipped_and_a_deleted_one_is_run_again(experiment, tape, tmp_path):
    experiment("--sweep", "pairing", "--seeds", "0", "1")
    before = {name: path.read_bytes() for name, path in results(tmp_path).items()}
    tape.clear()
    assert experiment("--sweep", "pairing", "--seeds", "0", "1") == 0
    assert tape == []
    assert {name: path.read_bytes() for name, path in results(tmp_path).items()} == before
    results(tmp_path)["pair=self/seed1"].unlink()
    assert experiment("--sweep", "pairing", "--seeds", "0", "1") == 0
    assert tape == [Config(pair="self", seed=1)]
    assert json.loads(results(tmp_path)["pair=self/seed1"].read_text())["resumed"]


def test_a_failing_arm_is_listed_and_the_others_have_their_results(experiment, tape, tmp_path, capsys):
    assert experiment("--sweep", "pairing", "--seeds", "0", "1", fail=raising(RuntimeError("no [bold] cells"))) == 1
    assert len(tape) == 4
    assert sorted(results(tmp_path)) == ["pair=self/seed1", "pair=sibling/seed0", "pair=sibling/seed1"]
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.endswith("pair=self/seed0: RuntimeError: no [bold] cells")
    tape.clear()
    assert experiment("--sweep", "pairing", "--seeds", "0", "1") == 0
    assert tape == [Config(pair="self", seed=0)]


def test_what_cannot_be_opened_is_told_without_a_traceback_and_can_be_put_right(experiment, tape, tmp_path, capsys):
    def misspelt(config):
        with launch.opening():
            raise FileNotFoundError("labels must be those of the atlas, got [Nukleus]")

    assert experiment("--width", "0.5", fail=misspelt) == 2
    told = capsys.readouterr()
    (line,) = told.err.strip().splitlines()
    assert line.startswith("error: ")
    assert line.endswith("default/seed0: labels must be those of the atlas, got [Nukleus]")
    assert "test_launch" not in told.out  # no table
    assert experiment("--width", "0.75") == 0  # as of files that were put right
    assert experiment("--sweep", "pairing", fail=lambda config: config.pair == "self" and misspelt(config)) == 1


def test_an_interrupt_stops_the_sweep_and_the_same_command_goes_on(experiment, tape, tmp_path):
    assert experiment("--sweep", "pairing", "--seeds", "0", "1", fail=raising(KeyboardInterrupt())) == 130
    assert [config.pair for config in tape] == ["sibling", "sibling", "self"]
    tape.clear()
    assert experiment("--sweep", "pairing", "--seeds", "0", "1") == 0
    assert [(config.pair, config.seed) for config in tape] == [("self", 0), ("self", 1)]
    assert len(results(tmp_path)) == 4


def test_a_folder_of_another_config_is_refused_before_anything_runs(experiment, tape, tmp_path, capsys):
    experiment("--width", "0.5", "--sweep", "pairing")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    tape.clear()
    assert experiment("--width", "0.75", "--sweep", "pairing", "--seeds", "5", "0") == 2
    assert tape == []
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == before
    error = capsys.readouterr().err
    assert "width is 0.5 there, 0.75 now" in error
    assert "choose another --workdir" in error
    assert "pair is" not in error


@pytest.mark.parametrize("name", ["config.json", "result.json"])
def test_a_damaged_record_is_named_with_its_remedy(name, experiment, tape, tmp_path, capsys):
    experiment()
    (tmp_path / "work/default/seed0" / name).write_text('{"width":')
    assert experiment() == 2
    assert len(tape) == 1
    assert f"{name} is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sweeps", "told"),
    [
        ({}, "sweep 'x' is unknown; choose from []"),
        ({"x": ()}, "needs arms of different names"),
        ({"x": [{"pair": "a/b"}, {"pair": "a_b"}]}, "needs arms of different names"),
        ({"x": [{"seed": 3}]}, "seeds are given with --seeds"),
        ({"x": [{"widht": 3}]}, "got ['widht']"),
    ],
)
def test_a_sweep_that_cannot_be_run_says_why(sweeps, told, experiment, tape, tmp_path, capsys):
    assert experiment("--sweep", "x", sweeps=sweeps) == 2
    assert told in capsys.readouterr().err
    assert tape == []
    assert not (tmp_path / "work").exists()


def test_a_config_that_refuses_its_values_is_told_without_a_traceback(tmp_path, capsys):
    @dataclasses.dataclass(frozen=True)
    class Halved:
        side: int = 8
        seed: int = 0

        def __post_init__(self):
            if self.side % 8:
                raise ValueError(f"side must be a multiple of 8, got {self.side}")

    asked = ["--workdir", str(tmp_path / "work"), "--side", "9"]
    assert launch.main(Halved, lambda config, workdir: pytest.fail("it ran"), argv=asked) == 2
    assert capsys.readouterr().err.strip() == "error: side must be a multiple of 8, got 9"
    assert not (tmp_path / "work").exists()


def test_a_result_appears_whole_or_not_at_all(experiment, tmp_path, monkeypatch):
    replace = os.replace

    def torn(source, target):
        if str(target).endswith("result.json"):
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", torn)
    assert experiment() == 1
    assert not results(tmp_path)


def test_a_config_must_leave_the_launchers_flags_alone(tmp_path):
    taken = dataclasses.make_dataclass("Taken", [("seed", int, 0), ("workdir", str, "here")], frozen=True)
    unseeded = dataclasses.make_dataclass("Unseeded", [("width", int, 0)], frozen=True)
    for config_type in (taken, unseeded):
        with pytest.raises(TypeError, match="a Config must have a field seed and none of"):
            launch.main(config_type, test_a_config_must_leave_the_launchers_flags_alone, argv=[])


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    "wrong",
    [{"data": "reel"}, {"headline": ["f1"]}, {"metrics": {"accuracy": "high"}}, {"counts": {"cells": np.zeros(3)}}],
)
def test_a_result_that_no_table_could_show_is_refused(wrong):
    right = {"metrics": {"accuracy": 1.0}, "counts": {"cells": 1}, "data": "real", "headline": ["accuracy"]}
    launch.Result(**right)
    with pytest.raises(ValueError, match="must be"):
        launch.Result(**{**right, **wrong})
    with pytest.raises(ValueError, match="cannot name a metric"):
        launch.Result(**{**right, "counts": {"cells of o'neill": 1}})


def test_a_sweep_killed_in_the_middle_goes_on_where_it_was(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "toy.py").write_text(
        textwrap.dedent('''
        """Counts its runs."""

        import dataclasses, time

        from hpax import launch


        @dataclasses.dataclass(frozen=True)
        class Config:
            width: float = 1.0
            slow: bool = False
            seed: int = 0


        def run(config, workdir):
            with open("tape", "a") as tape:
                tape.write(f"{config.width}\\n")
            if config.width == 0.5 and not (workdir / "checkpoint").exists():
                (workdir / "checkpoint").touch()
                time.sleep(60)
            return launch.Result({"accuracy": config.width}, {}, "simulated", ["accuracy"])


        raise SystemExit(launch.main(Config, run, sweeps={"width": launch.grid(width=[0.25, 0.5, 1.0])}))
        ''')
    )
    command = [sys.executable, "-m", "experiments.toy", "--sweep", "width"]
    checkpoint = tmp_path / "runs/toy/width=0.5/seed0/checkpoint"
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not checkpoint.exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "tape").read_text().split() == ["0.25", "0.5", "0.5", "1.0"]
    records = {path.parts[-3]: json.loads(path.read_text()) for path in tmp_path.glob("runs/toy/*/*/result.json")}
    assert {arm: record["resumed"] for arm, record in records.items()} == {
        "width=0.25": False,
        "width=0.5": True,
        "width=1.0": False,
    }
    assert {record["command"] for record in records.values()} == {"python -m experiments.toy --sweep width"}


@dataclasses.dataclass(frozen=True)
class Reading:
    """Which file to read, and where to write."""

    source: pathlib.Path | None = None
    data_dir: pathlib.Path = pathlib.Path("data")
    seed: int = 0


def test_a_result_is_not_that_of_a_file_that_has_changed_since(tmp_path, capsys):
    source = tmp_path / "labels.csv"
    source.write_text("id,label\na,1\n")
    command = ["--source", str(source), "--data-dir", str(tmp_path), "--workdir", str(tmp_path / "run")]

    def run(config, workdir):
        return launch.Result(metrics={"length": len(config.source.read_text())}, counts={}, data="real", headline=[])

    assert launch.main(Reading, run, argv=command) == 0
    assert launch.main(Reading, run, argv=command) == 0
    source.write_text("id,label\na,2\n")
    capsys.readouterr()
    assert launch.main(Reading, run, argv=command) == 2
    assert "labels.csv); choose another --workdir or delete that folder" in capsys.readouterr().err


@dataclasses.dataclass(frozen=True)
class Wide(Reading):
    """The same, with something to sweep."""

    width: int = 1


def test_what_arms_read_is_looked_through_once_and_kept(tmp_path, monkeypatch):
    source, tape = tmp_path / "images", []
    source.mkdir()
    (source / "a.png").write_bytes(b"pixels")
    os.utime(source / "a.png", (0, 0))
    monkeypatch.setattr(files, "WORTH_KEEPING", 0)
    monkeypatch.setattr(files, "SETTLED", -1)
    of_file, content = files._of_file, files.content
    monkeypatch.setattr(files, "_of_file", lambda path: tape.append(path.name) or of_file(path))
    monkeypatch.setattr(files, "content", lambda path, known=None: tape.append(path.name) or content(path, known))
    command = ["--source", str(source), "--workdir", str(tmp_path / "run"), "--sweep", "width"]

    def run(config, workdir):
        return launch.Result(metrics={"a": 1.0}, counts={}, data="real", headline=[])

    def main(*more):
        tape.clear()
        sweeps = {"width": launch.grid(width=[1, 2, 3])}
        assert launch.main(Wide, run, sweeps=sweeps, argv=[*command, *more]) == 0
        return list(tape)

    assert main("--show-config") == []
    assert not (tmp_path / "run").exists()
    assert main() == ["images", "a.png"]
    assert main() == ["images"]  # all arms are finished
