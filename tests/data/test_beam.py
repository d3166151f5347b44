"""The ways to one data set: in one go, as a Beam pipeline, and after an interruption."""

import pathlib
import signal
import subprocess
import sys
import tracemalloc

import pytest

from hpax.data import build, shards
from hpax.data.cell_crops import DataSet, dummy

IMAGES = {f"P{number}_{number}_A1": 5 for number in range(30)}
OPTIONS = {"size": 8}


@pytest.fixture(scope="module", autouse=True)
def small_shards():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DataSet, "PICTURES_PER_SHARD", 2)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("source")
    dummy.write(folder, "human", IMAGES, size=4)
    return folder


@pytest.fixture(scope="module")
def plain(source, tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("plain")
    data = build("cell_crops", folder, source=source, **OPTIONS)
    assert len(data.info.splits["train"].shard_lengths) > 10  # so that shards in the order of text would show
    return contents(folder)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def examples_until(after, error):
    """Makes examples of `after` pictures, and then fails."""
    original, done = DataSet.examples, []

    def examples(config, picture):
        if len(done) == after:
            raise error
        done.append(picture)
        return original(config, picture)

    return staticmethod(examples)


def interrupt(source, folder, error):
    """A build that fails at its tenth picture: four shards of two pictures are finished then, a fifth is not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DataSet, "examples", examples_until(9, error))
        build("cell_crops", folder, source=source, **OPTIONS)


def finished(folder):
    return sorted(path.name for path in folder.glob(".building-*/shards/*array_record*[0-9]"))


def test_a_beam_pipeline_writes_the_same_bytes(source, plain, tmp_path):
    pytest.importorskip("apache_beam")
    data = build("cell_crops", tmp_path, source=source, beam=["--runner=DirectRunner"], **OPTIONS)
    built = contents(tmp_path)
    assert built.keys() == plain.keys()
    assert [name for name in plain if built[name] != plain[name]] == []
    assert [data[row]["id"] for row in range(len(data))] == list(data.table.index)


def test_a_beam_pipeline_goes_on_with_what_is_there(source, plain, tmp_path, monkeypatch):
    pytest.importorskip("apache_beam")
    with pytest.raises(OSError, match="disk"):
        interrupt(source, tmp_path, OSError("disk full"))
    sent = []
    original = shards.write_with_beam
    monkeypatch.setattr(shards, "write_with_beam", lambda w, todo, flags: (sent.extend(todo), original(w, todo, flags)))
    total = sum("array_record" in name for name in plain)
    there = finished(tmp_path)
    build("cell_crops", tmp_path, source=source, beam=[], **OPTIONS)
    assert len(there) == 4
    assert len(sent) == total - 4
    assert contents(tmp_path) == plain


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), RuntimeError("worker died")])
def test_an_interrupted_build_goes_on_and_ends_in_the_same_bytes(source, plain, tmp_path, monkeypatch, caplog, error):
    with pytest.raises(type(error)):
        interrupt(source, tmp_path, error)
    kept = finished(tmp_path)
    assert len(kept) == 4
    assert not (tmp_path / "cell_crops").exists()
    with monkeypatch.context() as patch:
        again = examples_until(len(IMAGES) - 8, AssertionError("a finished shard was made again"))
        patch.setattr(DataSet, "examples", again)
        build("cell_crops", tmp_path, source=source, **OPTIONS)
    assert "4 shards are there" in caplog.text
    assert contents(tmp_path) == plain
    assert [path.name for path in tmp_path.iterdir()] == ["cell_crops"]


def test_finished_shards_are_verified(source, plain, tmp_path):
    with pytest.raises(OSError, match="disk"):
        interrupt(source, tmp_path, OSError("disk full"))
    flipped, cut, unreceipted, kept = (next(tmp_path.glob(f".building-*/shards/{n}")) for n in finished(tmp_path))
    flipped.write_bytes(flipped.read_bytes()[:-1] + bytes([flipped.read_bytes()[-1] ^ 1]))
    cut.write_bytes(cut.read_bytes()[:-9])
    unreceipted.with_name(f"{unreceipted.name}.json").write_text('{"examples": 1')
    (kept.parent / "other.part").write_bytes(b"left by a killed writer")
    build("cell_crops", tmp_path, source=source, **OPTIONS)
    assert contents(tmp_path) == plain


def test_a_killed_build_goes_on_and_ends_in_the_same_bytes(source, plain, tmp_path):
    code = """if True:
        import os, signal, sys
        from hpax.data import build
        from hpax.data.cell_crops import DataSet
        DataSet.PICTURES_PER_SHARD, original, done = 2, DataSet.examples, []
        def examples(config, picture):
            done.append(picture)
            if len(done) == 10:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(config, picture)
        DataSet.examples = staticmethod(examples)
        build("cell_crops", sys.argv[1], source=sys.argv[2], size=8)"""
    run = subprocess.run([sys.executable, "-c", code, tmp_path, source], check=False)
    assert run.returncode == -signal.SIGKILL
    assert len(finished(tmp_path)) == 4
    build("cell_crops", tmp_path, source=source, **OPTIONS)
    assert contents(tmp_path) == plain


def test_bad_input_throws_finished_shards_away(source, tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        interrupt(source, tmp_path / "data", ValueError("cannot be read"))
    assert not (tmp_path / "data").exists()


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(DataSet, "PICTURES_PER_SHARD", 8)
    peaks, pictures, cells = [], (1, 8, 24), 5  # what the first build imports does not count
    for number in pictures:
        images = {f"P{index}_{index}_A1": cells for index in range(number)}
        dummy.write(tmp_path / f"{number}", "human", images, size=4)
        tracemalloc.start()
        built = build("cell_crops", tmp_path / "data", source=tmp_path / f"{number}", size=256, min_cells=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    more = (pictures[2] - pictures[1]) * cells * built[0]["image"].nbytes
    assert more > 30_000_000
    assert peaks[2] - peaks[1] < more / 4  # what Python keeps of names and reads ahead varies by 4 MB


def test_workers_and_beam_exclude_each_other(source, tmp_path):
    with pytest.raises(ValueError, match="got 2 beside beam"):
        build("cell_crops", tmp_path, source=source, beam=[], workers=2)


def test_without_beam_it_is_named(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hpax\[beam\]'"):
        build("cell_crops", tmp_path, source=source, beam=[])
